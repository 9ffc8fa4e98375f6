//! The form of ids in Power BI and Entra.

/// Whether `text` is a GUID with hyphens and without braces, the only form that Microsoft's APIs take.
#[must_use]
pub(crate) fn is_guid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_form_with_hyphens_is_a_guid() {
        assert!(is_guid("4b76f5ed-5a06-4150-8d1b-60f8e4c186f4"));
        assert!(is_guid("4B76F5ED-5A06-4150-8D1B-60F8E4C186F4"));
        for text in [
            "",
            "4b76f5ed5a0641508d1b60f8e4c186f4",
            "{4b76f5ed-5a06-4150-8d1b-60f8e4c186f4}",
            "urn:uuid:4b76f5ed-5a06-4150-8d1b-60f8e4c186f4",
            "4b76f5ed-5a06-4150-8d1b-60f8e4c186fg",
        ] {
            assert!(!is_guid(text), "{text}");
        }
    }
}
