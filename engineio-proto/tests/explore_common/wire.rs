//! What a client hears, read by hand: nothing here comes from the crate under test.

/// One packet as a client understands it: its type digit, or `b` for bytes, and its data.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Heard {
    pub kind: u8,
    pub data: Vec<u8>,
}

impl Heard {
    pub fn new(kind: u8, data: impl Into<Vec<u8>>) -> Self {
        Self { kind, data: data.into() }
    }
}

/// Reads one packet in its text form.
pub fn packet(text: &[u8]) -> Option<Heard> {
    match text.split_first()? {
        (b'b', digits) => base64_decode(digits).map(|data| Heard::new(b'b', data)),
        (kind @ b'0'..=b'6', data) => Some(Heard::new(*kind, data)),
        _ => None,
    }
}

/// Reads the packets of a body.
pub fn payload(body: &[u8]) -> Option<Vec<Heard>> {
    body.split(|&byte| byte == 0x1e).map(packet).collect()
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Standard base64 with its padding, bit by bit.
pub fn base64_encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, index| bits << 8 | u32::from(group.get(index).copied().unwrap_or(0)));
        for index in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * index)) as usize & 63];
            text.push(if index <= group.len() { digit.into() } else { '=' });
        }
    }
    text
}

/// The inverse: `None` for anything that [`base64_encode`] would not have written.
pub fn base64_decode(text: &[u8]) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.iter().copied().take_while(|&byte| byte != b'=').collect();
    let mut bits = 0_u32;
    let mut bytes = Vec::new();
    for (index, digit) in digits.iter().enumerate() {
        bits = bits << 6 | u32::try_from(DIGITS.iter().position(|known| known == digit)?).ok()?;
        if index % 4 > 0 {
            bytes.push((bits >> (6 - 2 * (index % 4))) as u8);
        }
    }
    (base64_encode(&bytes).as_bytes() == text).then_some(bytes)
}

#[test]
fn known_vectors() {
    for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
        assert_eq!(base64_encode(bytes.as_bytes()), text);
        assert_eq!(base64_decode(text.as_bytes()).as_deref(), Some(bytes.as_bytes()));
    }
    for text in ["Zg", "Zg=", "Zh==", "Z", "=", "Zg==Zg==", "Zm9v\n"] {
        assert_eq!(base64_decode(text.as_bytes()), None, "{text}");
    }
    assert_eq!(
        payload(b"2\x1e4hi\x1ebZg=="),
        Some(vec![Heard::new(b'2', ""), Heard::new(b'4', "hi"), Heard::new(b'b', "f")])
    );
    assert_eq!(payload(b"4hi\x1e"), None);
}
