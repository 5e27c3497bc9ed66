#!/bin/sh
# Installs portcullis from the tarball that this file came in, for distributions without its package.
#
#   ./install.sh                   into /usr/local; nothing is enforced by it
#   ./install.sh --prefix /opt/x   somewhere else
#   ./install.sh --remove          takes it away again; configuration and state stay, and are named
set -eu

prefix=/usr/local
remove=
while [ $# -gt 0 ]; do
    case "$1" in
    --prefix)
        prefix=${2:?--prefix needs a directory}
        shift
        ;;
    --remove) remove=yes ;;
    *)
        echo "usage: $0 [--prefix DIRECTORY] [--remove]" >&2
        exit 2
        ;;
    esac
    shift
done
case "$prefix" in
/*) ;;
*)
    echo "error: --prefix $prefix is no absolute path" >&2
    exit 2
    ;;
esac
if [ "$(id -u)" != 0 ]; then
    echo "error: installing needs root" >&2
    exit 77
fi

here=$(cd "$(dirname "$0")" && pwd)
unit=/etc/systemd/system/portcullis.service
systemd() {
    if [ -d /run/systemd/system ]; then
        systemctl "$@" || true
    fi
}
catalogue() {
    if command -v journalctl >/dev/null; then
        journalctl --update-catalog >/dev/null 2>&1 || true
    fi
}

if [ -n "$remove" ]; then
    if [ -d /sys/fs/bpf/portcullis ]; then
        echo "error: a policy is in force, and would stay so without the program: run \`portcullis detach\` first" >&2
        exit 1
    fi
    systemd disable --now portcullis.service
    (cd "$here/files" && find . -type f) | while read -r file; do
        rm -f "$prefix/$file"
    done
    for directory in share/doc/portcullis share/portcullis; do
        rmdir "$prefix/$directory" 2>/dev/null || true
    done
    if [ -L "$prefix/bin/portcullis" ]; then
        rm -f "$prefix/bin/portcullis"
    fi
    rm -f "$unit"
    systemd daemon-reload
    catalogue
    echo "removed; /etc/portcullis and /var/lib/portcullis stay"
    exit 0
fi

(cd "$here/files" && find . -type f) | while read -r file; do
    mode=644
    case "$file" in ./sbin/*) mode=755 ;; esac
    mkdir -p "$prefix/$(dirname "$file")"
    # A program that runs is replaced, not written over.
    cp "$here/files/$file" "$prefix/$file.new"
    chmod "$mode" "$prefix/$file.new"
    mv "$prefix/$file.new" "$prefix/$file"
done
# A user's PATH has no sbin, and half of the commands need no root. Where both are one directory there is nothing to link.
mkdir -p "$prefix/bin"
if [ ! "$prefix/bin" -ef "$prefix/sbin" ]; then
    ln -sf ../sbin/portcullis "$prefix/bin/portcullis"
fi
mkdir -p /etc/portcullis/conf.d /etc/portcullis/policies.d "$(dirname "$unit")"
cp "$here/etc/portcullis.toml.example" /etc/portcullis/portcullis.toml.example
sed "s|^\(Exec[A-Za-z]*\)=/usr/sbin/|\1=$prefix/sbin/|" "$here/etc/portcullis.service" >"$unit"
systemd daemon-reload
systemd try-restart portcullis.service
catalogue
cat <<TEXT
portcullis is installed in $prefix, and what is enforced has not changed. Next:
    $prefix/bin/portcullis doctor                    is this host fit for it?
    $prefix/bin/portcullis init PRODUCT --role ROLE  a configuration to start from
    $prefix/bin/portcullis check                     and \`plan\`: look before you leap
    systemctl enable --now portcullis                  then put it in force
TEXT
