//! Sections → settings and hosts: what each key means.

use std::path::PathBuf;

use super::Config;
use super::error::{ConfigError, ConfigProblem as Problem};
use super::lines::{Entry, Section};
use super::settings::{Places, Settings};
use crate::message::nearest;
use crate::task::{is_own_variable, is_variable_name};
use crate::units::{parse_duration, parse_size};
use crate::{Host, Secret, TransportKind};

const GETO: &str = "geto";
const HOSTS: &str = "hosts";

pub(super) const SETTING_KEYS: [&str; 8] = [
    "privkey_path",
    "remote_work_path",
    "local_work_path",
    "remote_lock_path",
    "known_hosts_path",
    "ssh_config_path",
    "remote_cache_size",
    "keep_results",
];

pub(super) const HOST_KEYS: [&str; 10] = [
    "username",
    "password",
    "port",
    "slots",
    "gpus",
    "tags",
    "nice",
    "max_load",
    "transport",
    "setup",
];

pub(super) fn config(sections: &[Section], places: &Places) -> Result<Config, ConfigError> {
    let named = |name: &str| sections.iter().find(|section| section.name == name);
    let mut settings = Settings::new(places.local_work_path());
    if let Some(section) = named(GETO) {
        each_entry(section, |entry| set_setting(&mut settings, entry, places))?;
    }
    let mut hosts = Vec::new();
    if let Some(section) = named(HOSTS) {
        each_entry(section, |entry| {
            hosts.push(new_host(&settings, entry)?);
            Ok(())
        })?;
    }
    for section in sections.iter().filter(|section| ![GETO, HOSTS].contains(&&*section.name)) {
        let index = hosts.iter().position(|host| host.name.eq_ignore_ascii_case(&section.name));
        let Some(index) = index else {
            let names = hosts.iter().map(|host| host.name.as_str()).chain([GETO, HOSTS]);
            let nearest = nearest(&section.name, names).map(str::to_owned);
            let error = ConfigError::new(Problem::UnknownSection { nearest });
            return Err(error.on_line(section.line).in_section(&section.name));
        };
        each_entry(section, |entry| set_host(&mut hosts[index], entry))?;
    }
    match (hosts.is_empty(), named(HOSTS)) {
        (false, _) => Ok(Config { settings, hosts }),
        (true, Some(section)) => {
            Err(ConfigError::new(Problem::NoHosts).on_line(section.line).in_section(HOSTS))
        }
        (true, None) => Err(ConfigError::new(Problem::NoHosts)),
    }
}

fn each_entry(
    section: &Section,
    mut set: impl FnMut(&Entry) -> Result<(), Problem>,
) -> Result<(), ConfigError> {
    section.entries.iter().try_for_each(|entry| {
        let control = entry.value.chars().any(|c| c.is_control() && c != '\t');
        let set = if control { Err(Problem::ControlCharacter) } else { set(entry) };
        set.map_err(|problem| {
            ConfigError::new(problem)
                .on_line(entry.line)
                .in_section(&section.name)
                .at_key(&entry.key)
        })
    })
}

fn known_key<'a>(entry: &Entry, keys: &[&'a str]) -> Option<&'a str> {
    keys.iter().copied().find(|key| entry.is(key))
}

fn set_setting(settings: &mut Settings, entry: &Entry, places: &Places) -> Result<(), Problem> {
    let value = entry.value.as_str();
    let Some(key) = known_key(entry, &SETTING_KEYS) else {
        if known_key(entry, &HOST_KEYS).is_some() || entry.variable().is_some() {
            return Err(Problem::MisplacedKey { belongs: "the section of a host" });
        }
        let nearest = nearest(&entry.key, SETTING_KEYS).map(str::to_owned);
        return Err(Problem::UnknownKey { nearest });
    };
    if value.is_empty() {
        return Ok(());
    }
    match key {
        "privkey_path" => settings.privkey_path = Some(local_path(value, places)?),
        "local_work_path" => settings.local_work_path = local_path(value, places)?,
        "known_hosts_path" => settings.known_hosts_path = Some(local_path(value, places)?),
        "ssh_config_path" => settings.ssh_config_path = Some(local_path(value, places)?),
        "remote_work_path" => settings.remote_work_path = remote_path(value)?,
        "remote_lock_path" => settings.remote_lock_path = remote_path(value)?,
        "remote_cache_size" => {
            settings.remote_cache_size = Some(parse_size(value).map_err(Problem::BadSize)?);
        }
        _ => {
            let time = parse_duration(value).map_err(Problem::BadDuration)?;
            settings.keep_results = Some(time).filter(|time| !time.is_zero());
        }
    }
    Ok(())
}

fn new_host(settings: &Settings, entry: &Entry) -> Result<Host, Problem> {
    let name = entry.key.as_str();
    if ["local", GETO, HOSTS].iter().any(|own| entry.is(own)) {
        return Err(Problem::ReservedName);
    }
    if !is_host_name(name) {
        return Err(Problem::BadName);
    }
    let address = entry.value.as_str();
    let address = match address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(number) => number,
        None => address,
    };
    match address {
        "" => Err(Problem::NoAddress),
        address if !crate::select::is_address(address) => {
            Err(Problem::BadAddress(address.to_owned()))
        }
        address => Ok(Host { address: address.to_owned(), ..settings.host(name) }),
    }
}

fn set_host(host: &mut Host, entry: &Entry) -> Result<(), Problem> {
    let value = entry.value.as_str();
    if let Some(name) = entry.variable() {
        if !is_variable_name(name) {
            return Err(Problem::BadVariable);
        }
        if is_own_variable(name) {
            return Err(Problem::OwnVariable);
        }
        host.env.push((name.to_owned(), Secret::from(value)));
        return Ok(());
    }
    let Some(key) = known_key(entry, &HOST_KEYS) else {
        if known_key(entry, &SETTING_KEYS).is_some() {
            return Err(Problem::MisplacedKey { belongs: "[geto]" });
        }
        let nearest = nearest(&entry.key, HOST_KEYS).map(str::to_owned);
        return Err(Problem::UnknownKey { nearest });
    };
    if value.is_empty() {
        return Ok(());
    }
    match key {
        "username" => host.user = Some(user(value)?),
        "password" => host.password = Some(Secret::from(value)),
        "port" => {
            let port = number(value, 1, u32::from(u16::MAX)).ok();
            let port = port.and_then(|port| u16::try_from(port).ok());
            host.port = Some(port.ok_or_else(|| Problem::BadPort(value.to_owned()))?);
        }
        "slots" => host.slots = Some(number(value, 1, 65_535)?),
        "gpus" => host.gpus = Some(number(value, 0, 65_535)?),
        "tags" => host.tags = tags(value)?,
        "nice" => host.nice = u8::try_from(number(value, 0, 19)?).ok(),
        "max_load" => host.max_load_percent = Some(load(value)?),
        "transport" => {
            host.transport = match value {
                "native" => TransportKind::Native,
                "ssh" => TransportKind::Ssh,
                _ => return Err(Problem::BadTransport(value.to_owned())),
            }
        }
        _ => host.setup = Some(value.to_owned()),
    }
    Ok(())
}

fn number(value: &str, least: u32, most: u32) -> Result<u32, Problem> {
    let digits = value.bytes().all(|b| b.is_ascii_digit());
    let number = value.parse().ok().filter(|number| digits && (least..=most).contains(number));
    number.ok_or_else(|| Problem::BadNumber { value: value.to_owned(), least, most })
}

/// A load per processor, in hundredths.
fn load(value: &str) -> Result<u32, Problem> {
    let load = value.parse::<f64>().ok().filter(|load| (0.01..=1000.0).contains(load));
    let hundredths = load.map(|load| format!("{:.0}", load * 100.0));
    let hundredths = hundredths.and_then(|digits| digits.parse().ok());
    hundredths.ok_or_else(|| Problem::BadLoad(value.to_owned()))
}

fn user(value: &str) -> Result<String, Problem> {
    match crate::select::is_user(value) {
        true => Ok(value.to_owned()),
        false => Err(Problem::BadUser(value.to_owned())),
    }
}

fn tags(value: &str) -> Result<Vec<String>, Problem> {
    let words = value.split(',').map(str::trim).filter(|tag| !tag.is_empty());
    words
        .map(|tag| match tag.chars().any(is_special) {
            true => Err(Problem::BadTag(tag.to_owned())),
            false => Ok(tag.to_owned()),
        })
        .collect()
}

/// Such a name can't be taken for a pattern, a tag, a list, an address or an option.
fn is_host_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('-')
        && !name.contains(':')
        && !name.chars().any(is_special)
}

fn is_special(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "*?[]{}!\\@,/".contains(c)
}

fn local_path(value: &str, places: &Places) -> Result<PathBuf, Problem> {
    match (value.strip_prefix('~'), &places.home) {
        (None, _) => Ok(places.relative_to_base(value)),
        (Some(""), Some(home)) => Ok(home.clone()),
        (Some(rest), Some(home)) if rest.starts_with('/') => {
            Ok(home.join(rest.trim_start_matches('/')))
        }
        (Some(rest), None) if rest.is_empty() || rest.starts_with('/') => {
            Err(Problem::NoHome(value.to_owned()))
        }
        (Some(_), _) => Err(Problem::BadTilde(value.to_owned())),
    }
}

/// A relative path starts where a login does: at home.
fn remote_path(value: &str) -> Result<String, Problem> {
    match value.strip_prefix('~') {
        None if value.starts_with('/') => Ok(value.to_owned()),
        None => Ok(format!("~/{value}")),
        Some("") => Ok("~/".to_owned()),
        Some(rest) if rest.starts_with('/') => Ok(value.to_owned()),
        Some(_) => Err(Problem::BadTilde(value.to_owned())),
    }
}
