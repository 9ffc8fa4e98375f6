//! Too many requests, and clients that are too slow: what is too much is refused at once, health answers, and nothing
//! grows without bound.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use embed_broker::authn::{BearerToken, Verifier};
use embed_broker::config;
use embed_broker::http::Bounds;
use embed_broker::http::serve::Listener;
use embed_broker::outbound::Outbound;
use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::support::contract::CONTRACT;
use crate::support::tokens::unsigned;
use crate::support::{Answer, Process, TestApp, eventually};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn sales() -> Value {
    json!({ "item": "sales" })
}

// === too many requests ===

#[tokio::test]
async fn what_exceeds_max_in_flight_is_shed_at_once_and_health_answers() {
    let app = TestApp::setup()
        .edit("server:\n", "server:\n  max_in_flight: 2\n")
        // So that a slow disk does not look like a slow broker.
        .edit("sink: file\n", "sink: file\n  required: false\n")
        .start()
        .await;
    let tokens = [app.token("ana").await, app.token("ben").await];
    let other = app.token("chloe").await;
    let works: Vec<(Method, String)> = CONTRACT
        .operations()
        .into_iter()
        .filter(|(path, _)| !["/livez", "/readyz", "/openapi.yaml"].contains(&path.as_str()))
        .flat_map(|(path, methods)| {
            let path = path.replace("{item}", "sales");
            methods
                .into_iter()
                .map(move |method| (method.parse().unwrap(), path.clone()))
        })
        .collect();
    assert!(works.len() >= 3, "{works:?}");
    // The first answer is slow to check, since the description of the API is read for it.
    app.get("audra", "/items").await.ok();
    app.faults(
        json!([{"service": "power_bi", "path_contains": "GenerateToken", "delay_ms": 6000}]),
    )
    .await;
    let busy = futures_util::future::join_all(tokens.iter().map(|t| app.embed_as(t, sales())));
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        for _ in 0..10 {
            let began = Instant::now();
            let answer = app.embed_as(&other, sales()).await;
            answer.problem(503, "overloaded");
            assert!(began.elapsed() < Duration::from_secs(1), "shed at once");
        }
        for path in ["/livez", "/readyz", "/openapi.yaml"] {
            let began = Instant::now();
            let answer = app.request(Method::GET, path).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{path}");
            assert!(began.elapsed() < Duration::from_secs(1), "{path}");
        }
        assert_eq!(app.ops("/readyz").await.status, 200);
        // Whatever does work passes the same gate.
        for (method, path) in &works {
            let request = app.request(method.clone(), path);
            let answer = Answer::read(request.send().await.unwrap()).await;
            answer.problem(503, "overloaded");
        }
        // Nor does anybody have to send a body only to be refused.
        let mut stream = TcpStream::connect(app.broker().trim_start_matches("http://"))
            .await
            .unwrap();
        stream.write_all(announced().as_bytes()).await.unwrap();
        let answer = read_some(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        // What can never work is not told to come again.
        let request = app.request(Method::GET, "/embed-token");
        let answer = Answer::read(request.send().await.unwrap()).await;
        answer.problem(405, "method_not_allowed");
    };
    let (answers, ()) = tokio::join!(busy, meanwhile);
    for answer in answers {
        answer.ok();
    }
    app.heal().await;
    app.embed_as(&other, sales()).await.ok();
    eventually(async || {
        let records = app.audit();
        records.iter().filter(|r| r["code"] == "overloaded").count() == 11 + works.len()
    })
    .await;
}

// === slow clients ===

/// A server of small and large answers within `bounds`, of a slow one, and of one that never comes.
async fn server(bounds: Bounds) -> (Listener, SocketAddr, CancellationToken) {
    let (listener, address, stop, _) = server_that_tells(bounds).await;
    (listener, address, stop)
}

/// The same, with a permit for each request that has come for an answer that takes time.
async fn server_that_tells(
    bounds: Bounds,
) -> (Listener, SocketAddr, CancellationToken, Arc<Semaphore>) {
    let large = "x".repeat(16 * 1024 * 1024);
    let begun = Arc::new(Semaphore::new(0));
    let told = Arc::clone(&begun);
    let wait = async move |time| {
        told.add_permits(1);
        tokio::time::sleep(time).await;
        "slow"
    };
    let (slow, never) = (wait.clone(), wait);
    let router = Router::new()
        .route("/", get(async || "small"))
        .route("/large", get(async move || large.clone()))
        .route(
            "/slow",
            get(async move || slow(Duration::from_secs(1)).await),
        )
        .route("/never", get(async move || never(HOUR).await));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (socket.local_addr().unwrap(), CancellationToken::new());
    let listener = Listener::new("test", bounds);
    tokio::spawn(listener.clone().serve(socket, router, stop.clone()));
    (listener, address, stop, begun)
}

fn bounds() -> Bounds {
    Bounds {
        connections: 100,
        head: Duration::from_millis(400),
        idle: Duration::from_secs(2),
        stall: Duration::from_millis(600),
        ..Bounds::traffic(1024)
    }
}

/// With idle connections kept, so that nothing but slowness ends one.
fn patient() -> Bounds {
    Bounds {
        idle: Duration::from_secs(60),
        ..bounds()
    }
}

/// With everything that takes time allowed, so that a client goes only because there is no room for it.
fn timeless() -> Bounds {
    Bounds {
        head: HOUR,
        idle: HOUR,
        stall: HOUR,
        ..bounds()
    }
}

/// How long the server keeps the connection, reading whatever it says.
async fn kept(stream: &mut TcpStream) -> Duration {
    let began = Instant::now();
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest));
    // A reset is an end as well.
    let _ = end.await.expect("the server ends the connection");
    began.elapsed()
}

#[tokio::test]
async fn a_client_whose_head_does_not_arrive_is_cut_off() {
    let (listener, address, _stop) = server(bounds()).await;
    for beginning in [
        "",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ",
        // The first bytes of HTTP/2: which version it will be is not known yet.
        "PRI * HTTP/2",
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let kept = kept(&mut stream).await;
        assert!(
            (400..1500).contains(&kept.as_millis()),
            "{beginning:?}: {kept:?}"
        );
    }
    // One byte now and then does not help.
    let mut stream = TcpStream::connect(address).await.unwrap();
    let began = Instant::now();
    while stream.write_all(b"G").await.is_ok() {
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "it goes on for ever"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    eventually(async || listener.open_connections() == 0).await;
}

#[tokio::test]
async fn a_connection_between_two_requests_is_kept_longer_than_a_head_may_take() {
    let (_, address, _stop) = server(patient()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    for _ in 0..3 {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let mut answer = [0; 1024];
        let length = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        tokio::time::sleep(Duration::from_millis(900)).await;
    }
    // And a head that begins after a pause has its own time.
    stream.write_all(b"GET / HT").await.unwrap();
    let kept = kept(&mut stream).await;
    assert!(kept < Duration::from_millis(1200), "{kept:?}");
}

#[tokio::test]
async fn a_connection_without_requests_is_closed_in_the_end() {
    let (listener, address, _stop) = server(bounds()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let kept = kept(&mut stream).await;
    assert!((1900..4000).contains(&kept.as_millis()), "{kept:?}");
    eventually(async || listener.open_connections() == 0).await;
}

#[tokio::test]
async fn a_client_that_takes_no_answer_is_cut_off() {
    let (listener, address, _stop) = server(patient()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let began = Instant::now();
    eventually(async || listener.open_connections() == 1).await;
    eventually(async || listener.open_connections() == 0).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{began:?}");
}

#[tokio::test]
async fn a_client_that_takes_its_answer_slowly_gets_all_of_it() {
    let (_, address, _stop) = server(bounds()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let (mut taken, mut buffer) = (0, vec![0; 1024 * 1024]);
    loop {
        let mut some = 0;
        while some < 1024 * 1024 {
            match stream.read(&mut buffer).await.unwrap() {
                0 => break,
                length => some += length,
            }
        }
        taken += some;
        if some == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
    assert!(
        taken > 16 * 1024 * 1024,
        "{taken} bytes in nearly two seconds"
    );
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Preface, settings (with the size of the windows of streams) and one GET.
fn http2_get(window: u32) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut settings = vec![0, 4];
    settings.extend(window.to_be_bytes());
    bytes.extend(frame(4, 0, 0, &settings));
    // GET, http, /, and an authority: HPACK's static table.
    let mut head = vec![0x82, 0x86, 0x84, 0x41, 0x01];
    head.push(b'a');
    bytes.extend(frame(1, 0x5, 1, &head));
    bytes
}

#[tokio::test]
async fn a_client_of_http2_that_opens_no_window_is_cut_off() {
    let (listener, address, _stop) = server(patient()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&http2_get(0)).await.unwrap();
    let kept = kept(&mut stream).await;
    assert!((500..2000).contains(&kept.as_millis()), "{kept:?}");
    eventually(async || listener.open_connections() == 0).await;
}

#[tokio::test]
async fn a_client_of_http2_that_takes_its_answer_is_served_and_kept() {
    let (_, address, _stop) = server(bounds()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&http2_get(65_535)).await.unwrap();
    let mut seen: Vec<u8> = Vec::new();
    let began = Instant::now();
    while !seen.windows(5).any(|part| part == b"small") {
        let mut buffer = [0; 1024];
        let length = stream.read(&mut buffer).await.unwrap();
        assert!(length > 0, "closed");
        seen.extend(&buffer[..length]);
    }
    let kept = kept(&mut stream).await;
    assert!(began.elapsed() >= Duration::from_millis(1900), "{kept:?}");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_a_bad_request() {
    let app = TestApp::start().await;
    let token = app.token("ana").await;
    let address = app.broker().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "POST /embed-token HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{\"it"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let began = Instant::now();
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("did not arrive in time"), "{answer}");
    assert!((4..8).contains(&began.elapsed().as_secs()));
}

#[tokio::test]
async fn a_head_of_more_than_64_kib_is_refused_before_it_is_parsed() {
    let (listener, address, _stop) = server(bounds()).await;
    for (size, expected) in [(60, "HTTP/1.1 200"), (70, "HTTP/1.1 431")] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n",
            "x".repeat(size * 1024)
        );
        // The server may answer before it has read everything.
        let _ = stream.write_all(head.as_bytes()).await;
        let mut answer = [0; 1024];
        let length = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]);
        assert!(answer.starts_with(expected), "{size} KiB: {answer}");
    }
    eventually(async || listener.open_connections() == 0).await;
}

#[tokio::test]
async fn a_stop_ends_idle_connections_and_does_not_wait_for_slow_readers() {
    let (_, address, stop) = server(Bounds {
        stall: Duration::from_secs(60),
        idle: Duration::from_secs(60),
        ..bounds()
    })
    .await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    assert!(idle.read(&mut [0; 1024]).await.unwrap() > 0);
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.cancel();
    assert!(kept(&mut idle).await < Duration::from_secs(1));
    tokio::time::sleep(Duration::from_millis(5500)).await;
    // What was under way in the kernel is still there; then comes the end.
    assert!(kept(&mut slow).await < Duration::from_secs(3));
}

// === bodies ===

/// A request whose body is announced, and not sent.
fn announced() -> String {
    "POST /embed-token HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        .to_owned()
}

/// What the server says next.
async fn read_some(stream: &mut TcpStream) -> String {
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read(&mut answer));
    let length = read.await.expect("an answer").unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

/// So many requests whose bodies do not arrive.
async fn announce(broker: &Process, count: usize) -> Vec<TcpStream> {
    let address = broker.broker().trim_start_matches("http://").to_owned();
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(announced().as_bytes()).await.unwrap();
        streams.push(stream);
    }
    streams
}

#[tokio::test]
async fn bodies_that_do_not_arrive_take_no_place_of_requests_under_way() {
    let broker =
        Process::start(Process::setup().edit("server:\n", "server:\n  max_in_flight: 2\n")).await;
    let streams = announce(&broker, 20).await;
    eventually(async || {
        let under_way = broker.metric("embed_broker_requests_in_flight").await;
        under_way == Some(20.0)
    })
    .await;
    broker.embed("ana", sales()).await.ok();
    drop(streams);
    eventually(async || {
        let records = broker.audit();
        records.iter().filter(|r| r["code"] != "ok").count() == 20
    })
    .await;
}

#[tokio::test]
async fn the_time_of_a_request_is_that_of_its_body_as_well() {
    let broker =
        Process::start(Process::setup().edit("server:\n", "server:\n  request_timeout: 1s\n"))
            .await;
    let mut streams = announce(&broker, 1).await;
    let answer = read_some(&mut streams[0]).await;
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert!(answer.contains("upstream_timeout"), "{answer}");
}

// === what all clients hold together ===

/// Whether the server answers on a new connection.
async fn is_served(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    ask(&mut stream).await;
    stream
}

async fn ask(stream: &mut TcpStream) {
    let ask = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(ask).await.unwrap();
    let answer = read_some(stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// The server closes the connection.
async fn is_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut rest));
    let _ = end.await.expect("the server ends the connection");
}

/// The server keeps the connection, and has nothing to say.
async fn is_kept(stream: &mut TcpStream) {
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::from_millis(300), stream.read(&mut byte));
    assert!(read.await.is_err(), "the server keeps the connection");
}

#[tokio::test]
async fn a_new_connection_gets_in_for_the_one_that_has_been_idle_longest() {
    let (listener, address, _stop) = server(Bounds {
        connections: 2,
        ..timeless()
    })
    .await;
    // One that never says anything is idle as well.
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut first = is_served(address).await;
    let mut second = is_served(address).await;
    is_closed(&mut silent).await;
    ask(&mut first).await;
    let _third = is_served(address).await;
    is_closed(&mut second).await;
    is_kept(&mut first).await;
    assert!(listener.open_connections() <= 3);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_while_all_others_are_served() {
    let (listener, address, _stop, begun) = server_that_tells(Bounds {
        connections: 2,
        ..timeless()
    })
    .await;
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let ask = b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n";
        stream.write_all(ask).await.unwrap();
        busy.push(stream);
    }
    begun.acquire_many(2).await.unwrap().forget();
    let mut third = TcpStream::connect(address).await.unwrap();
    third
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    is_kept(&mut third).await;
    assert_eq!(listener.open_connections(), 2);
    busy.pop();
    let answer = read_some(&mut third).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    is_kept(&mut busy[0]).await;
}

#[tokio::test]
async fn a_connection_that_has_its_answer_makes_room_for_one_that_waits() {
    let (_, address, _stop, begun) = server_that_tells(Bounds {
        connections: 1,
        ..timeless()
    })
    .await;
    let mut first = TcpStream::connect(address).await.unwrap();
    let ask = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n";
    first.write_all(ask).await.unwrap();
    begun.acquire().await.unwrap().forget();
    drop(is_served(address).await);
    let answer = read_some(&mut first).await;
    assert!(answer.ends_with("slow"), "{answer}");
    is_closed(&mut first).await;
}

#[tokio::test]
async fn heads_that_do_not_end_are_bounded_over_all_connections() {
    // Room for one connection with a long head, beside one without.
    let (listener, address, _stop) = server(Bounds {
        connections: 5,
        ..timeless()
    })
    .await;
    let mut good = is_served(address).await;
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(60_000));
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // Without the flag that says that the head ends here, and few bytes that stand for a thousand headers.
    let short = [&[0x82, 0x86, 0x84, 0x41, 1, b'a'][..], &[0x90; 1000]].concat();
    let http2 = [preface, frame(4, 0, 0, &[]), frame(1, 0, 1, &short)].concat();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&http2).await.unwrap();
        is_closed(&mut stream).await;
    }
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(long.as_bytes()).await.unwrap();
    is_kept(&mut first).await;
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(long.as_bytes()).await.unwrap();
    is_closed(&mut first).await;
    is_kept(&mut second).await;
    assert_eq!(listener.open_connections(), 2);
    // Who has been idle for longer, but holds little, stays.
    ask(&mut good).await;
}

#[tokio::test]
async fn a_head_of_http2_that_does_not_end_is_cut_off() {
    let (listener, address, _stop) = server(patient()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A first request, so that nothing but the second head is awaited.
    stream.write_all(&http2_get(65_535)).await.unwrap();
    let mut seen: Vec<u8> = Vec::new();
    while !seen.windows(5).any(|part| part == b"small") {
        let mut buffer = [0; 1024];
        let length = stream.read(&mut buffer).await.unwrap();
        assert!(length > 0, "closed");
        seen.extend(&buffer[..length]);
    }
    stream
        .write_all(&frame(1, 0, 3, &[0x82, 0x86]))
        .await
        .unwrap();
    is_closed(&mut stream).await;
    eventually(async || listener.open_connections() == 0).await;
}

#[tokio::test]
async fn answers_that_are_not_taken_are_bounded_over_all_connections() {
    let (listener, address, _stop) = server(Bounds {
        answers: 64 * 1024,
        ..timeless()
    })
    .await;
    let mut streams = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&http2_get(0)).await.unwrap();
        streams.push(stream);
    }
    // Who has waited longest goes first.
    is_closed(&mut streams[0]).await;
    is_closed(&mut streams[1]).await;
    eventually(async || listener.open_connections() < 16).await;
    drop(is_served(address).await);
    assert!(listener.open_connections() > 8, "and no more than need be");
}

#[tokio::test]
async fn an_answer_counts_until_the_socket_has_taken_it() {
    let (listener, address, _stop) = server(Bounds {
        answers: 20 * 1024 * 1024,
        ..timeless()
    })
    .await;
    // hyper has taken the answer, and nobody takes it from hyper.
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let ask = b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n";
        stream.write_all(ask).await.unwrap();
        // The second comes when the answer to the first is there.
        stream.peek(&mut [0; 1]).await.unwrap();
        streams.push(stream);
    }
    eventually(async || listener.open_connections() == 1).await;
    let mut taken = 0;
    let mut buffer = vec![0; 1024 * 1024];
    while taken < 16 * 1024 * 1024 {
        let length = streams[1].read(&mut buffer).await.unwrap();
        assert!(length > 0, "closed after {taken} bytes");
        taken += length;
    }
    // What was taken makes room.
    drop(is_served(address).await);
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    stream.peek(&mut [0; 1]).await.unwrap();
    drop(is_served(address).await);
    is_kept(&mut streams[1]).await;
    let answer = read_some(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Preface, settings and so many GETs of `/never`.
fn http2_gets(count: u32) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    let mut head = vec![0x82, 0x86, 0x04, 6];
    head.extend(b"/never");
    head.extend([0x41, 0x01, b'a']);
    for number in 0..count {
        bytes.extend(frame(1, 0x5, 2 * number + 1, &head));
    }
    bytes
}

#[tokio::test]
async fn requests_are_bounded_over_all_connections() {
    let (_listener, address, _stop) = server(Bounds {
        requests: 64 * 1024,
        ..timeless()
    })
    .await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&http2_gets(50)).await.unwrap();
    // RST_STREAM with REFUSED_STREAM: nothing was done for it.
    let refused = [&[0, 0, 4, 3, 0][..], &[0, 0, 0, 99, 0, 0, 0, 7]].concat();
    let mut seen: Vec<u8> = Vec::new();
    while !seen.windows(refused.len()).any(|part| part == refused) {
        let mut buffer = [0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(30), stream.read(&mut buffer));
        let length = read.await.expect("the 50th is refused").unwrap();
        assert!(length > 0, "closed");
        seen.extend(&buffer[..length]);
    }
    let first = [&[0, 0, 4, 3, 0][..], &[0, 0, 0, 1]].concat();
    assert!(!seen.windows(first.len()).any(|part| part == first));
    // Who has little under way has the rest of the room.
    drop(is_served(address).await);
}

// === floods ===

#[tokio::test]
async fn a_flood_of_unauthenticated_requests_fills_neither_log_nor_trail() {
    let broker = Process::start(Process::setup()).await;
    let mut asks = Vec::new();
    for number in 0..600 {
        let request = broker.request(Method::POST, "/embed-token").json(&sales());
        asks.push(if number % 2 == 0 {
            request.bearer_auth("no.real.token")
        } else {
            request
        });
    }
    let sends = asks.into_iter().map(reqwest::RequestBuilder::send);
    for answer in futures_util::future::join_all(sends).await {
        assert_eq!(answer.unwrap().status(), 401);
    }
    assert_eq!(
        broker.audit().len(),
        60,
        "one each for the first of a minute"
    );
    let lines = broker.lines("request refused").len();
    assert!(lines <= 2 * 10 * 10, "{lines} lines: ten a second and code");
    let held_back = broker.count("embed_broker_log_lines_held_back_total").await;
    assert_eq!(lines as u64 + held_back, 600, "and all others are counted");
    broker.signal("TERM");
    assert!(broker.ended().await.success());
    let records = broker.audit();
    let counted: u64 = records.iter().filter_map(|r| r["count"].as_u64()).sum();
    assert_eq!((records.len(), counted), (61, 540), "and one for the rest");
}

#[tokio::test]
async fn ten_thousand_made_up_key_ids_cause_two_fetches_at_most() {
    let upstream = embed_broker_sandbox::Upstream::start(embed_broker_sandbox::Options::default())
        .await
        .unwrap();
    let issuer = format!("{}/idp", upstream.url());
    let config = config::Authn {
        issuers: vec![config::Issuer {
            issuer: issuer.clone(),
            audiences: vec!["embed-broker".into()],
            ..config::Issuer::default()
        }],
        ..config::Authn::default()
    };
    let outbound = Outbound::new(&config::Tls::default()).unwrap();
    let verifier = Verifier::new(&config, &outbound, None).unwrap();
    let now = OffsetDateTime::now_utc();
    let claims = json!({"iss": issuer, "aud": "embed-broker", "sub": "u", "exp": now.unix_timestamp() + 600});
    for number in 0..10_000 {
        let header = json!({"alg": "RS256", "kid": format!("kid-{number}")});
        let token = unsigned(&header, &claims, b"made up");
        assert!(
            verifier
                .verify(&BearerToken::new(token), now)
                .await
                .is_err()
        );
    }
    let calls = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .get(format!("{}/sandbox/calls", upstream.url()))
        .send()
        .await
        .unwrap()
        .json::<Vec<Value>>()
        .await
        .unwrap();
    let fetches = calls
        .iter()
        .filter(|call| call["path"].as_str().unwrap().contains("jwks"))
        .count();
    assert!((1..=2).contains(&fetches), "{fetches} fetches");
}

#[tokio::test]
async fn callers_with_known_keys_never_stand_behind_those_who_wait_for_a_hanging_issuer() {
    let app = TestApp::setup()
        .edit("server:\n", "server:\n  max_in_flight: 4\n")
        .section("rate_limit: { per_caller_per_minute: 0 }")
        .start()
        .await;
    let known = app.token("ana").await;
    app.embed_as(&known, sales()).await.ok();
    app.faults(json!([{"service": "idp", "path_contains": "well-known", "delay_ms": 60_000}]))
        .await;
    let claims = json!({"iss": format!("{}/idp", app.upstream()), "aud": "embed-broker"});
    let made_up: Vec<String> = (0..8)
        .map(|n| {
            unsigned(
                &json!({"alg": "RS256", "kid": format!("x{n}")}),
                &claims,
                b"x",
            )
        })
        .collect();
    let mut flood: futures_util::stream::FuturesUnordered<_> = made_up
        .iter()
        .map(|token| app.embed_as(token, sales()))
        .collect();
    // Half of `max_in_flight` may wait.
    let mut codes = Vec::new();
    for _ in 0..6 {
        let answer = flood.next().await.unwrap();
        codes.push(answer.json()["code"].as_str().unwrap().to_owned());
    }
    assert!(
        codes.contains(&"issuer_unavailable".to_owned()),
        "{codes:?}"
    );
    for _ in 0..10 {
        app.embed_as(&known, sales()).await.ok();
    }
    app.heal().await;
    for _ in 0..2 {
        let answer = flood.next().await.unwrap();
        answer.problem(401, "invalid_token");
    }
}

#[tokio::test]
async fn the_embed_token_cache_keeps_to_its_bytes() {
    let broker = Process::start(
        Process::setup()
            .section("rate_limit: { per_caller_per_minute: 0 }")
            .section("cache: { embed_tokens_max_bytes: 64KiB }"),
    )
    .await;
    for number in 0..200 {
        let claims =
            json!({"sub": format!("u{number}"), "email": format!("u{number}@contoso.example")});
        let token = broker.token_with("ana", claims).await;
        broker.embed_as(&token, sales()).await.ok();
    }
    let bytes = broker.metric("embed_broker_embed_token_cache_bytes").await;
    let bytes = bytes.unwrap();
    assert!(bytes > 1024.0, "{bytes}: something is kept");
    assert!(bytes <= 64.0 * 1024.0, "{bytes}");
}
