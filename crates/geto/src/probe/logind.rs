//! What systemd-logind does to the processes of a session that ends.

/// Whether logind ends what `user` leaves behind when a session ends; `settings` are the lines of
/// its configuration about that, in the order in which they count.
///
/// As logind.conf(5) has it; a lingering user makes no difference to processes of a session.
pub(super) fn ends_processes(settings: &str, user: &str) -> bool {
    let mut kills = false;
    let mut spared: Option<Vec<&str>> = None;
    let mut only: Vec<&str> = Vec::new();
    for (key, value) in settings.lines().filter_map(|line| line.split_once('=')) {
        let value = value.trim();
        match key.trim() {
            "KillUserProcesses" => match value.to_ascii_lowercase().as_str() {
                "1" | "yes" | "y" | "true" | "t" | "on" => kills = true,
                "0" | "no" | "n" | "false" | "f" | "off" | "" => kills = false,
                // Passed over by logind, too.
                _ => {}
            },
            // Lists grow, and an empty value begins anew.
            "KillExcludeUsers" if value.is_empty() => spared = Some(Vec::new()),
            "KillExcludeUsers" => {
                spared.get_or_insert_default().extend(value.split_whitespace());
            }
            "KillOnlyUsers" if value.is_empty() => only.clear(),
            "KillOnlyUsers" => only.extend(value.split_whitespace()),
            _ => {}
        }
    }
    match spared {
        None if user == "root" => return false,
        Some(spared) if spared.contains(&user) => return false,
        _ => {}
    }
    match only.is_empty() {
        true => kills,
        false => only.contains(&user),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts() {
        let of = |settings: &str| ends_processes(settings, "athos");
        assert!(!of(""));
        assert!(of("KillUserProcesses=yes"));
        assert!(of(" KillUserProcesses = ON \n"));
        assert!(!of("KillUserProcesses=yes\nKillUserProcesses=no"));
        assert!(of("KillUserProcesses=yes\nKillUserProcesses=perhaps"));
    }

    #[test]
    fn users_can_be_spared_or_singled_out() {
        let on = "KillUserProcesses=yes\n";
        assert!(!ends_processes(on, "root"));
        assert!(ends_processes(&format!("{on}KillExcludeUsers="), "root"));
        assert!(!ends_processes(&format!("{on}KillExcludeUsers=porthos athos"), "athos"));
        assert!(ends_processes(&format!("{on}KillExcludeUsers=athos\nKillExcludeUsers="), "athos"));
        assert!(!ends_processes(&format!("{on}KillOnlyUsers=porthos"), "athos"));
        assert!(ends_processes("KillOnlyUsers=athos", "athos"));
    }
}
