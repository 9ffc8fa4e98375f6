//! How much memory JSON values take: for caches that are bounded by bytes.
//!
//! The length of a JSON text says little: `{"":0}` has six characters, and takes 640 bytes as a value. So the values
//! themselves are counted: the room that texts and lists hold, the nodes of objects, and what an allocator adds. The result is
//! never less than what is held.

use serde_json::{Map, Value};

/// One entry of an object, in a node of the B-tree behind [`Map`].
const ENTRY_BYTES: usize = size_of::<String>() + size_of::<Value>();

/// A node without children: room for 11 entries, and its own bookkeeping.
const LEAF_BYTES: usize = 11 * ENTRY_BYTES + 16;

/// A node with children: the links to them as well.
const NODE_BYTES: usize = LEAF_BYTES + 12 * size_of::<usize>();

/// Every node but the root has five entries or more, so an object with fewer than eleven entries is one leaf.
const FEWEST_ENTRIES: usize = 5;

/// Bytes on the heap that an object holds.
pub(crate) fn of_map(map: &Map<String, Value>) -> usize {
    let nodes = match map.len() {
        0 => 0,
        1..=10 => allocated(LEAF_BYTES),
        len => (1 + len / FEWEST_ENTRIES) * allocated(NODE_BYTES),
    };
    let entries = map
        .iter()
        .map(|(name, value)| allocated(name.capacity()) + of_value(value));
    nodes + entries.sum::<usize>()
}

/// Bytes on the heap that a value holds.
fn of_value(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => allocated(text.capacity()),
        Value::Array(list) => {
            let own = allocated(list.capacity() * size_of::<Value>());
            own + list.iter().map(of_value).sum::<usize>()
        }
        Value::Object(map) => of_map(map),
    }
}

/// What an allocator takes for so many bytes: it rounds up, by an eighth at most, and may keep a word of its own.
pub(crate) fn allocated(bytes: usize) -> usize {
    if bytes == 0 {
        return 0;
    }
    bytes + bytes / 8 + 16
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn weight(json: &str) -> usize {
        let map: Map<String, Value> = serde_json::from_str(json).unwrap();
        of_map(&map)
    }

    /// `{"x":[ITEM,ITEM,…]}`, as long as claims in a token of 16 KiB can be.
    fn many(item: &str) -> (usize, String) {
        let count = 12 * 1024 / (item.len() + 1);
        (
            count,
            format!("{{\"x\":[{}]}}", vec![item; count].join(",")),
        )
    }

    #[test]
    fn nothing_weighs_less_than_what_the_standard_library_allocates_for_it() {
        // A leaf of a B-tree holds 11 keys and values from the start.
        let leaf = 11 * (size_of::<String>() + size_of::<Value>());
        let nested = format!("{}0{}", "{\"\":".repeat(100), "}".repeat(100));
        let value = size_of::<Value>();
        for (item, least) in [
            ("0", value),
            ("\"\"", value),
            ("\"a\"", value + 8),
            ("[]", value),
            ("[0]", 2 * value),
            ("[[0]]", 3 * value),
            ("{}", value),
            ("{\"\":0}", value + leaf),
            ("{\"a\":0}", value + leaf + 8),
            ("{\"\":{\"\":0}}", value + 2 * leaf),
            ("{\"\":[0]}", 2 * value + leaf),
            (nested.as_str(), value + 100 * leaf),
        ] {
            let (count, json) = many(item);
            let weight = weight(&json);
            assert!(weight >= count * least + leaf, "{item}: {weight}");
            assert!(weight <= 4 * (count * least + leaf), "{item}: {weight}");
        }
    }

    #[test]
    fn room_that_is_held_and_not_used_counts() {
        let mut list = Vec::with_capacity(1_000);
        list.push(Value::Null);
        assert!(of_value(&Value::Array(list)) >= 1_000 * size_of::<Value>());
        assert!(of_value(&Value::String(String::with_capacity(1_000))) >= 1_000);
        let mut map = Map::new();
        map.insert(String::with_capacity(1_000), Value::Null);
        assert!(of_map(&map) >= 1_000);
    }

    #[test]
    fn an_object_of_many_keys_weighs_all_its_nodes() {
        for count in [1, 5, 11, 12, 100, 1_500] {
            let map: Map<String, Value> = (0..count)
                .map(|n| (format!("{n:04}"), Value::Null))
                .collect();
            let entries = count * (ENTRY_BYTES + 4);
            // Keys that come in order leave every node but the last half empty.
            let at_most = 2 * entries + count * 32 + 2 * NODE_BYTES;
            let weight = of_map(&map);
            assert!(
                (entries..=2 * at_most).contains(&weight),
                "{count}: {weight}"
            );
        }
    }

    #[test]
    fn usual_claims_weigh_a_few_kilobytes() {
        let claims = json!({
            "iss": "https://login.example.com/", "aud": "embed-broker", "sub": "u1", "exp": 1_800_000_000, "tid": "contoso",
            "email": "ana@contoso.example", "groups": ["managers", "sales"], "regions": ["EMEA"],
        });
        let weight = of_map(claims.as_object().unwrap());
        assert!((1_000..4_000).contains(&weight), "{weight}");
    }
}
