//! Finds the names of the command line in the configuration. The error for an unknown name suggests a similar one.

use super::failure::CommandError;
use crate::catalogue::Vendor;
use crate::config::{Config, Job, Push, Target};
use crate::connector::{self, Connection};
use crate::settings::closest_hint;

/// The job of that name.
pub fn job<'a>(config: &'a Config, name: &str) -> Result<&'a Job, CommandError> {
    config.jobs.get(name).ok_or_else(|| unknown("job", name, config.jobs.keys().map(String::as_str)))
}

/// The job of that name, which must be one that reads.
pub fn reading_job<'a>(config: &'a Config, name: &str) -> Result<&'a Job, CommandError> {
    let job = job(config, name)?;
    if job.push.is_some() {
        let message = format!("the job `{name}` sends rows and reads nothing: run `tidegate push {name}`");
        return Err(CommandError::Usage(message));
    }
    Ok(job)
}

/// The job of that name, which must be one that sends.
pub fn sending_job<'a>(config: &'a Config, name: &str) -> Result<(&'a Job, &'a Push), CommandError> {
    let job = job(config, name)?;
    let push = job.push.as_deref().ok_or_else(|| {
        CommandError::Usage(format!(
            "the job `{name}` has no `push` section, so it sends nothing: run `tidegate sync {name}`"
        ))
    })?;
    Ok((job, push))
}

/// The jobs of these names, in this order and each once; without names, all jobs that read.
pub fn jobs<'a>(config: &'a Config, names: &[String]) -> Result<Vec<&'a Job>, CommandError> {
    if names.is_empty() {
        return Ok(config.jobs.values().filter(|job| job.push.is_none()).collect());
    }
    let mut found: Vec<&Job> = Vec::new();
    for name in names {
        let job = reading_job(config, name)?;
        if !found.iter().any(|other| other.name == job.name) {
            found.push(job);
        }
    }
    Ok(found)
}

/// The target of notifications of that name; without a name, all of them.
pub fn targets<'a>(config: &'a Config, name: Option<&str>) -> Result<Vec<&'a Target>, CommandError> {
    let found: Vec<&Target> =
        config.notify.iter().filter(|target| name.is_none_or(|name| target.name == name)).collect();
    match name {
        Some(name) if found.is_empty() => {
            Err(unknown("target of notifications", name, config.notify.iter().map(|target| target.name.as_str())))
        }
        _ => Ok(found),
    }
}

/// The named streams of a job; without names, all of its streams.
pub fn streams<'a>(job: &'a Job, names: &[String]) -> Result<Vec<&'a str>, CommandError> {
    let known = || job.streams.iter().map(|entry| entry.stream.name.as_ref());
    for name in names {
        if !known().any(|stream| stream == name) {
            let hint = closest_hint(name, known());
            return Err(CommandError::Usage(format!("the job `{}` has no stream `{name}`{hint}", job.name)));
        }
    }
    Ok(known().filter(|stream| names.is_empty() || names.iter().any(|name| name == stream)).collect())
}

/// The connections of these names, in the order of the configuration; without names, all of them.
pub fn connections<'a>(config: &'a Config, names: &[String]) -> Result<Vec<&'a Connection>, CommandError> {
    let known = || config.connections.keys().map(String::as_str);
    if let Some(name) = names.iter().find(|name| !config.connections.contains_key(*name)) {
        return Err(unknown("connection", name, known()));
    }
    let wanted = |connection: &&Connection| names.is_empty() || names.contains(&connection.name);
    Ok(config.connections.values().filter(wanted).collect())
}

/// The connection of that name.
pub fn connection<'a>(config: &'a Config, name: &str) -> Result<&'a Connection, CommandError> {
    config
        .connections
        .get(name)
        .ok_or_else(|| unknown("connection", name, config.connections.keys().map(String::as_str)))
}

/// The limits of a connection: the named one, or all of them.
pub fn limits(connection: &Connection, name: Option<&str>) -> Result<Vec<String>, CommandError> {
    let known = || connection.limits.iter().map(|limit| limit.name.as_str());
    match name {
        Some(name) if !known().any(|limit| limit == name) => {
            let hint = closest_hint(name, known());
            Err(CommandError::Usage(format!("the connection `{}` has no limit `{name}`{hint}", connection.name)))
        }
        Some(name) => Ok(vec![name.to_owned()]),
        None => Ok(known().map(ToOwned::to_owned).collect()),
    }
}

/// The vendor of that name.
pub fn vendor(name: &str) -> Result<Vendor, CommandError> {
    let known = || connector::ALL.iter().map(|connector| connector.vendor);
    known().find(|vendor| vendor.name() == name).ok_or_else(|| unknown("vendor", name, known().map(Vendor::name)))
}

/// The message for a name that is not in `known`.
pub fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> CommandError {
    CommandError::Usage(format!("unknown {what} `{name}`{}", closest_hint(name, known)))
}
