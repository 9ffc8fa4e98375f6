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

/// # Errors
/// When it is empty.
pub(super) fn username(username: &str) -> Result<(), &'static str> {
    if username.is_empty() {
        Err("the user name is empty")
    } else {
        Ok(())
    }
}

/// # Errors
/// When it is too long.
pub(super) fn custom_data(data: &str) -> Result<(), &'static str> {
    if data.chars().count() > MAX_CUSTOM_DATA {
        Err("the custom data has more than 1,024 characters")
    } else {
        Ok(())
    }
}
