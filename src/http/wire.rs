//! Which version of HTTP a connection speaks, and whether a head of HTTP/2 is arriving that has not ended.
//!
//! hyper tells of a head when it is complete. One that does not end takes memory as well, of HTTP/2 much more than it
//! has bytes (a byte may stand for a whole header), and a client may send other frames between two heads for as long
//! as it likes. So the frames are followed here, by their first nine bytes only; whether they are correct is for hyper.

/// The first bytes of HTTP/2 (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const FRAME_HEADER: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// What a client has sent so far.
pub(super) enum Wire {
    /// So many bytes, which may be those of HTTP/2.
    Unknown(usize),
    Http1,
    Http2(Frames),
}

/// Where in the frames of HTTP/2 the client is.
#[derive(Default)]
pub(super) struct Frames {
    header: [u8; FRAME_HEADER],
    /// Bytes of `header` that have arrived.
    arrived: usize,
    /// Bytes of the payload that have not.
    missing: usize,
    /// A head has begun and not ended.
    in_head: bool,
    /// The frame is the last one of its head.
    ends_head: bool,
}

impl Wire {
    pub(super) fn is_http2(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    /// Whether a head of HTTP/2 has begun and not ended.
    pub(super) fn is_in_head(&self) -> bool {
        matches!(self, Self::Http2(frames) if frames.in_head)
    }

    pub(super) fn read(&mut self, bytes: &[u8]) {
        if let Self::Unknown(known) = *self {
            let expected = &PREFACE[known..];
            let length = expected.len().min(bytes.len());
            if bytes[..length] != expected[..length] {
                *self = Self::Http1;
            } else if length < expected.len() {
                *self = Self::Unknown(known + length);
            } else {
                *self = Self::Http2(Frames::default());
                self.read(&bytes[length..]);
            }
        } else if let Self::Http2(frames) = self {
            frames.read(bytes);
        }
    }
}

impl Frames {
    fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.missing == 0 {
                let length = (FRAME_HEADER - self.arrived).min(bytes.len());
                let (header, rest) = bytes.split_at(length);
                self.header[self.arrived..self.arrived + length].copy_from_slice(header);
                self.arrived += length;
                bytes = rest;
                if self.arrived == FRAME_HEADER {
                    self.begin();
                }
            } else {
                let length = self.missing.min(bytes.len());
                self.missing -= length;
                bytes = &bytes[length..];
            }
            if self.arrived == 0 && self.missing == 0 && self.ends_head {
                (self.in_head, self.ends_head) = (false, false);
            }
        }
    }

    /// The header of a frame is complete.
    fn begin(&mut self) {
        let [a, b, c, kind, flags, ..] = self.header;
        self.missing = u32::from_be_bytes([0, a, b, c]) as usize;
        self.arrived = 0;
        if matches!(kind, HEADERS | CONTINUATION) {
            self.in_head = true;
            self.ends_head = flags & END_HEADERS != 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let [_, a, b, c] = u32::try_from(payload).unwrap().to_be_bytes();
        let mut frame = vec![a, b, c, kind, flags, 0, 0, 0, 1];
        frame.resize(FRAME_HEADER + payload, 0xff);
        frame
    }

    /// Whether a head is arriving after `bytes`, which come in pieces of every size.
    fn in_head(bytes: &[u8]) -> bool {
        let outcomes: Vec<bool> = (1..=bytes.len())
            .map(|size| {
                let mut wire = Wire::Unknown(0);
                bytes.chunks(size).for_each(|piece| wire.read(piece));
                assert!(wire.is_http2());
                wire.is_in_head()
            })
            .collect();
        assert!(outcomes.iter().all(|&outcome| outcome == outcomes[0]));
        outcomes[0]
    }

    #[test]
    fn a_head_of_http2_begins_and_ends_with_its_frames() {
        let (data, settings) = (frame(0, 0, 30), frame(4, 0, 0));
        let whole = frame(HEADERS, END_HEADERS, 20);
        for (frames, expected) in [
            (vec![settings.clone()], false),
            (vec![whole.clone()], false),
            (vec![frame(HEADERS, END_HEADERS, 0)], false),
            (vec![whole[..whole.len() - 1].to_vec()], true),
            (vec![whole.clone(), data.clone()], false),
            (vec![whole.clone(), data[..12].to_vec()], false),
            (vec![settings, whole.clone(), frame(HEADERS, 0, 20)], true),
            (vec![frame(HEADERS, 0, 20), frame(CONTINUATION, 0, 7)], true),
            (
                vec![frame(HEADERS, 0, 0), frame(CONTINUATION, END_HEADERS, 7)],
                false,
            ),
            (vec![data, frame(HEADERS, 1, 20)], true),
        ] {
            let bytes = [PREFACE, &frames.concat()].concat();
            assert_eq!(in_head(&bytes), expected, "{frames:?}");
        }
    }

    #[test]
    fn what_does_not_begin_like_http2_is_http1() {
        for text in ["GET / HTTP/1.1\r\n", "PRI / HTTP/1.1\r\n", "PRI * HTTP/1.1"] {
            for size in 1..text.len() {
                let mut wire = Wire::Unknown(0);
                for piece in text.as_bytes().chunks(size) {
                    wire.read(piece);
                }
                assert!(matches!(wire, Wire::Http1), "{text}");
            }
        }
        let mut wire = Wire::Unknown(0);
        wire.read(b"PRI * HTTP/2");
        assert!(matches!(wire, Wire::Unknown(12)));
    }
}
