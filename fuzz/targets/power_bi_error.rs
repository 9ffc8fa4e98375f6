//! Any answer of Power BI's that is no success, written as HTTP writes it (status, headers, an empty line, body): no
//! panic, a class that fits the status, and no upstream text in the error but a code that looks like one.

#![no_main]

use embed_broker::powerbi::{Error, fuzz_classify};
use libfuzzer_sys::{Corpus, fuzz_target};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((status, headers, body)) = answer(data) else {
        return Corpus::Reject;
    };
    let error = fuzz_classify(status, &headers, body);
    let text = error.to_string();
    assert!(text.len() < 1_000, "as long as upstream text: {text}");
    match (status.as_u16(), &error) {
        (429, Error::Throttled { retry_after, .. }) => {
            assert!(retry_after.as_secs() <= 24 * 60 * 60)
        }
        (500..=599, Error::Unreachable(trouble)) => {
            let reason = trouble.to_string();
            let code = reason
                .split_once('(')
                .and_then(|(_, rest)| rest.split_once(')'))
                .expect("a code")
                .0;
            assert_code(code);
        }
        (
            _,
            Error::Rejected {
                status: told,
                code,
                upstream_request_id,
                ..
            },
        ) => {
            assert_eq!(*told, status.as_u16());
            assert_code(code);
            assert_id(upstream_request_id.as_deref());
        }
        (
            _,
            Error::Quota {
                upstream_request_id,
            },
        ) => assert_id(upstream_request_id.as_deref()),
        _ => panic!("{status} became {error:?}"),
    }
    Corpus::Keep
});

fn assert_code(code: &str) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    assert!(
        (1..=100).contains(&code.len()) && code.bytes().all(plain),
        "{code}"
    );
}

fn assert_id(id: Option<&str>) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    assert!(
        id.is_none_or(|id| (1..=64).contains(&id.len()) && id.bytes().all(plain)),
        "{id:?}"
    );
}

fn answer(data: &[u8]) -> Option<(StatusCode, HeaderMap, &[u8])> {
    let end = data.windows(2).position(|pair| pair == b"\n\n")?;
    let mut lines = data[..end].split(|byte| *byte == b'\n');
    let status: u16 = std::str::from_utf8(lines.next()?).ok()?.parse().ok()?;
    let status = StatusCode::from_u16(status)
        .ok()
        .filter(|status| !status.is_success() && status.as_u16() >= 300)?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        headers.append(
            name,
            HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?,
        );
    }
    Some((status, headers, &data[end + 2..]))
}
