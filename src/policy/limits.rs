//! Limits of Power BI on effective identities, for literals at load and for evaluated values at every request.
//!
//! Sources: `EffectiveIdentity` in the Power BI REST description (roles), "Embed a report with Azure Analysis Services"
//! (custom data). What depends on the data source (characters of a user name) is the plan's business.

/// Most roles of one identity.
pub(super) const MAX_ROLES: usize = 50;

/// Most characters of a role.
const MAX_ROLE: usize = 50;

/// Most characters of custom data.
const MAX_CUSTOM_DATA: usize = 1024;

/// # Errors
/// Says what is wrong with a role, without repeating it: it may come from a claim.
pub(super) fn role(role: &str) -> Result<(), &'static str> {
    if role.is_empty() {
        Err("a role is empty")
    } else if role.contains(',') {
        Err("a role contains a comma, which Power BI does not allow")
    } else if role.chars().count() > MAX_ROLE {
        Err("a role has more than 50 characters")
    } else {
        Ok(())
    }
}

/// A part of an identity that the rule names and that comes out empty would silently mean "none".
///
/// # Errors
/// When it is empty.
pub(super) fn not_empty(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        Err("it is empty")
    } else {
        Ok(())
    }
}

/// # Errors
/// When it is empty or too long.
pub(super) fn custom_data(data: &str) -> Result<(), &'static str> {
    not_empty(data)?;
    if data.chars().count() > MAX_CUSTOM_DATA {
        Err("it has more than 1,024 characters")
    } else {
        Ok(())
    }
}
