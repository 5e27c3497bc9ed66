//! The thread that answers scrapes: HTTP/1.1, one request a connection, a few connections at a time.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::super::files::{self, Directories};
use super::Running;
use super::page::page;
use crate::commands::status;
use crate::host::schema::Listen;

/// What the text format is called.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// How long a client may take in all.
const PATIENCE: Duration = Duration::from_secs(10);
/// Clients at a time; of more the oldest goes.
const CLIENTS: usize = 8;
/// How long a page is as good as a new one: reading full flow tables takes part of a second.
const FRESH: Duration = Duration::from_secs(1);
/// How long accepting pauses when the process is out of descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// A running server; it ends with this value.
pub(super) struct Server {
    listens: Listen,
    /// Dropped: the thread ends.
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
    /// The socket's file.
    path: Option<PathBuf>,
}

/// What a scrape is answered from.
struct Source {
    directories: Directories,
    running: Arc<Mutex<Running>>,
    last: Mutex<Option<(Instant, Bytes)>>,
}

impl Server {
    /// Listens from now on.
    ///
    /// # Errors
    /// Where the address or the path can't be had, or the system gives no thread.
    pub(super) fn start(
        listen: &Listen,
        directories: &Directories,
        running: Arc<Mutex<Running>>,
    ) -> Result<Self> {
        let source = Arc::new(Source {
            directories: directories.clone(),
            running,
            last: Mutex::new(None),
        });
        let (stop, stopped) = oneshot::channel();
        // The runtime begins and ends on its own thread: one may not be dropped inside of another.
        let (begun, beginning) = mpsc::sync_channel(1);
        let place = listen.clone();
        let thread = thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || {
                let (runtime, listener) = match begin(&place) {
                    Ok(begun) => begun,
                    Err(error) => {
                        // Who waits for it is there.
                        let _ = begun.send(Err(error));
                        return;
                    }
                };
                let _ = begun.send(Ok(()));
                runtime.block_on(async {
                    tokio::select! {
                        () = serve(listener, source) => {}
                        _ = stopped => {}
                    }
                });
                // A page that is being made needs nobody any more.
                runtime.shutdown_background();
            })
            .context("cannot start the thread that serves metrics")?;
        let path = match listen {
            Listen::Address(_) => None,
            Listen::Unix(path) => Some(PathBuf::from(path)),
        };
        let mut server = Self {
            listens: listen.clone(),
            stop: Some(stop),
            thread: Some(thread),
            path,
        };
        let begun = beginning.recv().context("the thread ended").flatten();
        if let Err(error) = begun {
            // What is there is not ours.
            server.path = None;
            return Err(error.context(format!("cannot serve metrics on {listen}")));
        }
        Ok(server)
    }

    /// Where.
    pub(super) fn listens(&self) -> &Listen {
        &self.listens
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed.
            let _ = thread.join();
        }
        if let Some(path) = &self.path {
            // Gone already is as good.
            let _ = fs::remove_file(path);
        }
    }
}

enum Listener {
    Address(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

/// Everything that a descriptor is needed for.
fn begin(listen: &Listen) -> Result<(Runtime, Listener)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listener = {
        let _inside = runtime.enter();
        bind(listen)?
    };
    Ok((runtime, listener))
}

fn bind(listen: &Listen) -> Result<Listener> {
    match listen {
        Listen::Address(address) => {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            Ok(Listener::Address(listener))
        }
        Listen::Unix(path) => {
            let path = PathBuf::from(path);
            make_way(&path)?;
            let listener = UnixListener::bind(&path)?;
            // Nothing here is secret; who may reach the socket is the directory's to say.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
            listener.set_nonblocking(true)?;
            let listener = tokio::net::UnixListener::from_std(listener)?;
            Ok(Listener::Unix(listener))
        }
    }
}

/// Removes the socket of a process that is gone, and nothing else.
fn make_way(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => Ok(fs::remove_file(path)?),
        Ok(_) => bail!("{} is there and no socket", path.display()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn serve(listener: Listener, source: Arc<Source>) {
    let mut clients: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = match &listener {
            Listener::Address(listener) => listener
                .accept()
                .await
                .map(|(client, _)| tokio::spawn(attend(client, Arc::clone(&source)))),
            Listener::Unix(listener) => listener
                .accept()
                .await
                .map(|(client, _)| tokio::spawn(attend(client, Arc::clone(&source)))),
        };
        match accepted {
            Ok(task) => {
                clients.retain(|client| !client.is_finished());
                clients.push_back(task.abort_handle());
                // A crowd of silent ones is in nobody's way.
                if clients.len() > CLIENTS
                    && let Some(oldest) = clients.pop_front()
                {
                    oldest.abort();
                }
            }
            Err(error) => {
                log::warn!("serving metrics: {error}");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

async fn attend(client: impl AsyncRead + AsyncWrite + Unpin, source: Arc<Source>) {
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(16 << 10)
        .serve_connection(
            TokioIo::new(client),
            service_fn(|request| {
                let source = Arc::clone(&source);
                async move { Ok::<_, Infallible>(answer(&request, source).await) }
            }),
        );
    // A client that goes away or falls silent has itself to thank.
    let _ = timeout(PATIENCE, connection).await;
}

async fn answer<B>(request: &Request<B>, source: Arc<Source>) -> Response<Full<Bytes>> {
    let text = |status, text: &'static str| {
        let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        *response.status_mut() = status;
        response
    };
    if request.uri().path() != "/metrics" {
        return text(StatusCode::NOT_FOUND, "metrics are at /metrics\n");
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
        let allowed = hyper::header::HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    let made = tokio::task::spawn_blocking(move || source.page()).await;
    match made {
        Ok(Ok(page)) => {
            let mut response = Response::new(Full::new(page));
            let kind = hyper::header::HeaderValue::from_static(OPENMETRICS);
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        Ok(Err(error)) => {
            log::warn!("metrics: {error:#}");
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "what is in force can't be read; the agent's log says why\n",
            )
        }
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping\n"),
    }
}

impl Source {
    /// The page of this moment, or of one not long ago.
    fn page(&self) -> Result<Bytes> {
        // Held while it is made: who comes meanwhile waits for the same.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, page)) = &*last
            && made.elapsed() < FRESH
        {
            return Ok(page.clone());
        }
        let view = status::look(&self.directories, files::running(&self.directories.runtime))?;
        let running = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let text = page(&view, &running, Timestamp::now()).context("cannot write the page")?;
        let text = Bytes::from(text);
        *last = Some((Instant::now(), text.clone()));
        Ok(text)
    }
}
