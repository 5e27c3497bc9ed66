use super::*;

#[test]
fn names_of_links_come_back() {
    for interface in ["eth0", "eth0.100", "a%b", "xdp", "br-lan", "tc-egress", "ü"] {
        for hook in Hook::ALL {
            let path = Pins::new(Path::new("/p")).link(interface, hook);
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(!name.contains('.'), "{name}");
            assert_eq!(parse_link(name), Some((interface.to_owned(), hook)));
        }
    }
}

#[test]
fn names_of_others_are_no_links() {
    for name in [
        "", "-xdp", "eth0", "eth0-xd", "eth0_xdp", "%-xdp", "%zz-xdp",
    ] {
        assert_eq!(parse_link(name), None, "{name}");
    }
}

#[test]
fn names_of_interfaces() {
    assert_eq!(name_of(1).as_deref(), Some("lo"));
    assert_eq!(name_of(0), None);
}

#[test]
fn only_abi_directories_are_ours() {
    let ours = Pins::new(Path::new("/p"));
    assert!(is_abi(ours.abi()));
    for (name, expected) in [
        ("v2-00c0ffee", true),
        ("v12-00C0FFEE", true),
        ("v-00c0ffee", false),
        ("v2-00c0ffe", false),
        ("v2-00c0ffeeg", false),
        ("v2-00c0ffex", false),
        ("state", false),
        ("vx-00c0ffee", false),
    ] {
        assert_eq!(is_abi(name), expected, "{name}");
    }
}

#[test]
fn removing_takes_pins_and_leaves_the_rest() {
    let directory = std::env::temp_dir().join(format!("portcullis-pins-{}", std::process::id()));
    fs::create_dir_all(directory.join("theirs")).unwrap();
    fs::write(directory.join("HEADS"), b"").unwrap();
    assert_eq!(
        remove_flat(&directory).unwrap(),
        vec![directory.join("theirs")]
    );
    assert!(!directory.join("HEADS").exists() && directory.join("theirs").exists());
    fs::remove_dir(directory.join("theirs")).unwrap();
    assert!(remove_flat(&directory).unwrap().is_empty());
    assert!(!directory.exists());
    assert!(remove_flat(&directory).unwrap().is_empty(), "gone already");
}
