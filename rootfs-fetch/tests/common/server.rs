//! A registry in the test's own process: a TcpListener, a thread a connection, and a function that answers.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rootfs_fetch::Digest;

use super::{MANIFEST, TestImage};

/// What came in.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v)
    }
}

/// What goes out.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Send only so many bytes of the body, then hang up.
    pub cut: Option<usize>,
    /// Then send nothing for so long, in milliseconds.
    pub stall: u64,
    /// Send one byte at a time, with so many milliseconds in between.
    pub drip: u64,
    /// Send the body again and again until the other side hangs up.
    pub endless: bool,
    /// Send these bytes instead of a status line and headers; then the body.
    pub raw: Option<Vec<u8>>,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Answer {
        Answer {
            status,
            body: body.into(),
            ..Answer::default()
        }
    }

    /// Not what HTTP says an answer is.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Answer {
        Answer {
            raw: Some(bytes.into()),
            ..Answer::default()
        }
    }

    pub fn with(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.into(), value.into()));
        self
    }
}

type Handler = dyn Fn(&Asked) -> Answer + Send + Sync;

pub struct Server {
    pub address: String,
    pub log: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (log, stop) = (
            Arc::new(Mutex::new(Vec::new())),
            Arc::new(AtomicBool::new(false)),
        );
        let (log2, stop2, handler): (_, _, Arc<Handler>) =
            (log.clone(), stop.clone(), Arc::new(handler));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop2.load(Ordering::Relaxed) {
                    return;
                }
                let (handler, log) = (handler.clone(), log2.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &*handler, &log));
            }
        });
        Server {
            address,
            log,
            stop,
            thread: Some(thread),
        }
    }

    /// A registry that has these images by tag, changed by `twist` before each answer.
    pub fn registry(
        images: &[(&str, TestImage)],
        twist: impl Fn(&Asked, Answer) -> Answer + Send + Sync + 'static,
    ) -> Server {
        let images: Vec<(String, TestImage)> = images
            .iter()
            .map(|(t, i)| ((*t).to_owned(), i.clone()))
            .collect();
        Server::start(move |asked| twist(asked, registry_answer(&images, asked)))
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.log.lock().unwrap().clone()
    }

    pub fn count(&self, part: &str) -> usize {
        self.asked()
            .iter()
            .filter(|a| a.path.contains(part))
            .count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(&self.address);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn registry_answer(images: &[(String, TestImage)], asked: &Asked) -> Answer {
    let path = asked.path.split('?').next().unwrap();
    let last = path.rsplit('/').next().unwrap();
    if path == "/v2/" {
        return Answer::new(200, "{}");
    }
    if path.contains("/manifests/") {
        let by_tag = images.iter().find(|(tag, _)| tag == last).map(|(_, i)| i);
        let image = by_tag.or_else(|| {
            images
                .iter()
                .map(|(_, i)| i)
                .find(|i| Digest::of(&i.manifest).to_string() == last)
        });
        if let Some(image) = image {
            let kind = if image.config.is_some() {
                MANIFEST
            } else {
                super::INDEX
            };
            return Answer::new(200, image.manifest.clone()).with("Content-Type", kind);
        }
    }
    let blob = images
        .iter()
        .flat_map(|(_, i)| &i.blobs)
        .find(|(d, _)| d.to_string() == last);
    let Some((_, bytes)) = blob.filter(|_| path.contains("/blobs/")) else {
        return Answer::new(
            404,
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no"}]}"#,
        );
    };
    let from = asked
        .header("range")
        .strip_prefix("bytes=")
        .and_then(|r| r.trim_end_matches('-').parse::<usize>().ok());
    match from {
        Some(from) => Answer::new(206, bytes[from..].to_vec()).with(
            "Content-Range",
            &format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len()),
        ),
        None => Answer::new(200, bytes.clone()),
    }
}

fn serve(stream: TcpStream, handler: &Handler, log: &Mutex<Vec<Asked>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let mut asked = Asked::default();
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let mut words = line.split_whitespace();
        asked.method = words.next().unwrap_or_default().to_owned();
        asked.path = words.next().unwrap_or_default().to_owned();
        loop {
            line.clear();
            if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                break;
            }
            let (name, value) = line.split_once(':').unwrap();
            asked
                .headers
                .insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length: usize = asked.header("content-length").parse().unwrap_or(0);
        let mut body = vec![0; length];
        std::io::Read::read_exact(&mut reader, &mut body).unwrap();
        asked.body = String::from_utf8(body).unwrap();
        log.lock().unwrap().push(asked.clone());
        let answer = handler(&asked);
        let head = answer.raw.clone().unwrap_or_else(|| head(&answer));
        let sent = &answer.body[..answer
            .cut
            .unwrap_or(answer.body.len())
            .min(answer.body.len())];
        let mut done = drip(&mut stream, &head, answer.drip)
            .and_then(|()| drip(&mut stream, sent, answer.drip));
        while answer.endless && done.is_ok() {
            done = stream.write_all(sent);
        }
        if answer.stall > 0 {
            std::thread::sleep(std::time::Duration::from_millis(answer.stall));
        }
        if done.is_err() || answer.cut.is_some() || answer.raw.is_some() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

fn head(answer: &Answer) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} X\r\n", answer.status);
    if !answer.endless {
        head += &format!("Content-Length: {}\r\n", answer.body.len());
    }
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    (head + "\r\n").into_bytes()
}

fn drip(stream: &mut TcpStream, bytes: &[u8], pause: u64) -> std::io::Result<()> {
    if pause == 0 {
        return stream.write_all(bytes);
    }
    for byte in bytes {
        stream.write_all(&[*byte])?;
        std::thread::sleep(std::time::Duration::from_millis(pause));
    }
    Ok(())
}
