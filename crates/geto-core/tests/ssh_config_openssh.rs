//! ssh_config as the machine's own `ssh -G` resolves it, read by [`SshOptions`]. Without an `ssh`
//! the tests fail.

#![expect(clippy::disallowed_types, reason = "this is where the pure code meets real programs")]
#![expect(clippy::unwrap_used, reason = "a test ends there")]

use std::process::Command;
use std::time::Duration;

use geto_core::ssh_config::{
    AddressFamily, Agent, JumpHost, SshOptions, StrictHostKeyChecking, Tokens, may_be_of_user,
    of_user,
};

const CONFIG: &str = r#"
Include DIR/included
Port 2200
Host web* !web9
    HostName %h.example.net
    User "web admin"
    IdentityFile ~/keys/%h-%r
    IdentityFile="DIR/with space/%%d"
    CertificateFile %d/${GETO_TEST}/%n-cert.pub
    UserKnownHostsFile ~/kh %d/kh-%p "/with space/kh" ${GETO_TEST}/kh
    GlobalKnownHostsFile none
    StrictHostKeyChecking accept-new
    HostKeyAlias Web-Alias
    ProxyJump me@gate:2222,[::1]:2022,ssh://far.example
    ConnectTimeout 1m30s
    ServerAliveInterval 7
    ServerAliveCountMax 9
    IdentitiesOnly yes
    IdentityAgent ${GETO_TEST}/agent-%i
    PreferredAuthentications password,publickey
    PubkeyAuthentication unbound
    KbdInteractiveAuthentication no
    NumberOfPasswordPrompts 1
    HostKeyAlgorithms +ssh-rsa
    Ciphers aes128-ctr
    AddressFamily inet6
    BindAddress ::1
    Compression yes
    TCPKeepAlive no
    BatchMode yes
    HashKnownHosts yes
    SecurityKeyProvider internal
Match originalhost web1 exec "test 1 = 1"
    ConnectionAttempts 4
Match originalhost web1 exec "test 1 = 2"
    MACs hmac-sha2-256
Match final host *.example.net
    KexAlgorithms curve25519-sha256
Host=command
    ProxyCommand nc -x "a b" %h %p ~ $HOME %%
    HostKeyAlgorithms rsa-sha2-512,ssh-ed25519
    IdentityFile none
    IdentityAgent none
    UserKnownHostsFile none
    StrictHostKeyChecking off
"#;

const INCLUDED: &str = "
Host web1
    LogLevel ERROR
    Include DIR/nested
Host *.never
    Port 1
";

fn options(lines: &str, host: &str) -> SshOptions {
    let printed = printed(lines, host);
    let system = ssh(&["-F", "none", "-G", host]);
    SshOptions::parse(&printed, Some(&system)).unwrap()
}

fn printed(lines: &str, host: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap();
    let write = |name: &str, text: &str| {
        fs_err::write(dir.path().join(name), text.replace("DIR", place)).unwrap();
        format!("{place}/{name}")
    };
    write("included", INCLUDED);
    write("nested", "Match user root,nobody\n    Port 2201\nMatch all\n    Port 2202\n");
    let config = write("config", lines);
    ssh(&["-F", &config, "-G", host]).replace(place, "DIR")
}

fn ssh(arguments: &[&str]) -> String {
    let mut ssh = Command::new("ssh");
    ssh.args(arguments).env("GETO_TEST", "/geto").env("HOME", "/nowhere");
    let output = ssh.output().expect("ssh is not installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn texts(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

#[test]
fn a_nasty_config_is_read_as_ssh_resolves_it() {
    let options = options(CONFIG, "web1");
    assert_eq!(options.hostname, "web1.example.net");
    assert_eq!(options.user, "web admin");
    assert!([2201, 2202].contains(&options.port), "{}", options.port);
    assert_eq!(options.identity_files, texts(&["~/keys/%h-%r", "DIR/with space/%%d"]));
    assert_eq!(options.certificate_files, texts(&["%d/${GETO_TEST}/%n-cert.pub"]));
    let files = &options.user_known_hosts_files;
    assert!(files[0].ends_with("/kh") && !files[0].starts_with('~'), "{files:?}");
    assert!(files[1].ends_with(&format!("/kh-{}", options.port)), "{files:?}");
    assert_eq!(files[2..], texts(&["/with space/kh", "/geto/kh"]));
    assert!(options.global_known_hosts_files.is_empty());
    assert_eq!(options.strict_host_key_checking, StrictHostKeyChecking::AcceptNew);
    assert_eq!(options.host_key_alias.as_deref(), Some("web-alias"));
    let hop = |user: Option<&str>, host: &str, port| JumpHost {
        user: user.map(ToOwned::to_owned),
        host: host.to_owned(),
        port,
    };
    assert_eq!(
        options.proxy_jump,
        [
            hop(Some("me"), "gate", Some(2222)),
            hop(None, "::1", Some(2022)),
            hop(None, "far.example", None),
        ]
    );
    assert_eq!(options.proxy_command, None);
    assert_eq!(options.connect_timeout, Some(Duration::from_secs(90)));
    assert_eq!(options.server_alive_interval, Some(Duration::from_secs(7)));
    assert_eq!(options.server_alive_count_max, 9);
    assert_eq!(options.connection_attempts, 4);
    assert!(options.identities_only && options.batch_mode && options.compression);
    assert!(options.hash_known_hosts && !options.tcp_keep_alive);
    let agent = options.identity_agent.as_deref().unwrap();
    assert!(agent.starts_with("/geto/agent-") && !agent.contains('%'), "{agent}");
    assert_eq!(options.preferred_authentications, texts(&["password", "publickey"]));
    assert!(options.pubkey_authentication && options.password_authentication);
    assert!(!options.keyboard_interactive_authentication);
    assert_eq!(options.number_of_password_prompts, 1);
    assert!(options.order_host_key_algorithms, "a list with + follows what is known");
    assert!(options.host_key_algorithms.contains(&"ssh-rsa".to_owned()));
    assert_eq!(options.ciphers, texts(&["aes128-ctr"]));
    assert_eq!(options.kex_algorithms, texts(&["curve25519-sha256"]));
    assert!(options.macs.len() > 1, "a Match exec that fails counts for nothing");
    assert_eq!(options.address_family, AddressFamily::Inet6);
    assert_eq!(options.bind_address.as_deref(), Some("::1"));
    assert_eq!(options.needs_ssh, None);
}

#[test]
fn a_host_that_is_negated_gets_nothing_of_the_block() {
    let options = options(CONFIG, "web9");
    assert_eq!((options.hostname.as_str(), options.port), ("web9", 2200));
    assert_eq!(options.host_key_alias, None);
    assert!(options.proxy_jump.is_empty());
    assert_eq!(options.strict_host_key_checking, StrictHostKeyChecking::Ask);
}

#[test]
fn none_means_none() {
    let options = options(CONFIG, "command");
    let command = r#"nc -x "a b" %h %p ~ $HOME %%"#;
    assert_eq!(options.proxy_command.as_deref(), Some(command));
    assert!(!options.order_host_key_algorithms, "a list of one's own counts as it stands");
    assert_eq!(options.host_key_algorithms, texts(&["rsa-sha2-512", "ssh-ed25519"]));
    assert!(options.identity_files.is_empty());
    assert!(options.user_known_hosts_files.is_empty());
    assert_eq!(options.global_known_hosts_files.len(), 2);
    assert_eq!(options.identity_agent.as_deref(), Some("none"));
    assert_eq!(options.strict_host_key_checking, StrictHostKeyChecking::No);
}

#[test]
fn what_only_ssh_can_do_is_named() {
    for (line, expected) in [
        ("HostbasedAuthentication yes", Some("HostbasedAuthentication is on")),
        ("PKCS11Provider /lib/x.so", Some("PKCS11Provider is set")),
        ("PKCS11Provider none", None),
        ("SecurityKeyProvider /lib/x.so", Some("SecurityKeyProvider is set")),
        ("SecurityKeyProvider internal", None),
        ("KnownHostsCommand /bin/echo %H", Some("KnownHostsCommand is set")),
        ("KnownHostsCommand none", None),
        ("RevokedHostKeys /etc/revoked", Some("RevokedHostKeys is set")),
        ("VerifyHostKeyDNS yes", Some("VerifyHostKeyDNS is on")),
        ("VerifyHostKeyDNS ask", Some("VerifyHostKeyDNS is on")),
        ("VerifyHostKeyDNS no", None),
        ("ControlMaster auto\nControlPath /x/%h", None),
        ("CanonicalizeHostname no", None),
        ("SetEnv A=b", None),
        ("SendEnv LANG LC_* PROJECT_*", None),
        ("NoHostAuthenticationForLocalhost yes", Some("NoHostAuthenticationForLocalhost is on")),
        ("HostKeyAlgorithms sk-*", Some("HostKeyAlgorithms has no usual one")),
        ("HostKeyAlgorithms *-cert-v01@openssh.com", Some("HostKeyAlgorithms has no usual one")),
        ("HostKeyAlgorithms ^rsa-sha2-256", None),
    ] {
        assert_eq!(options(line, "n1").needs_ssh.as_deref(), expected, "{line}");
    }
    let options = options("ControlMaster auto\nControlPath /x/%h", "n1");
    assert_eq!(options.control_path.as_deref(), Some("/x/n1"));
}

#[test]
fn what_only_a_user_can_ask_for_is_named() {
    for (line, expected) in [
        ("Compression yes", None),
        ("GSSAPIAuthentication yes", Some("GSSAPIAuthentication is on")),
        ("GSSAPIAuthentication no", None),
        ("PubkeyAcceptedAlgorithms -ssh-ed25519", Some("PubkeyAcceptedAlgorithms leaves some out")),
        ("PubkeyAcceptedKeyTypes rsa-*", Some("PubkeyAcceptedAlgorithms leaves some out")),
        ("PubkeyAcceptedAlgorithms -*-cert-*", Some("PubkeyAcceptedAlgorithms leaves some out")),
        ("PubkeyAcceptedAlgorithms +ssh-rsa", None),
        ("RequiredRSASize 3072", Some("RequiredRSASize is set")),
        ("RequiredRSASize 1024", None),
    ] {
        let printed = printed(line, "n1");
        assert_eq!(of_user(&printed).as_deref(), expected, "{line}");
        assert!(expected.is_none() || may_be_of_user(line), "{line}");
        // What the machine's own file says of all this is not looked at.
        assert_eq!(SshOptions::parse(&printed, None).unwrap().needs_ssh, None, "{line}");
    }
    assert!(!may_be_of_user("Host *\n    SendEnv LANG LC_*\n    HashKnownHosts yes\n"));
}

/// The locale that Debian's own file sends for everybody is not a task's.
#[test]
fn variables_are_those_that_ssh_would_send_but_for_the_locale() {
    let lines = "SetEnv \"A=b c\" LC_ALL=C\nSendEnv LANG LC_* -LC_X\nSendEnv PROJECT_?";
    let own =
        ["LANG", "LC_ALL", "LC_TIME", "LC_PROJECT", "PROJECT_1", "PROJECT_12", "A", "project_1"];
    let own = own.map(|name| (name.to_owned(), format!("own {name}")));
    let options = options(lines, "n1");
    let given: Vec<_> = options
        .variables(own)
        .into_iter()
        .map(|(name, value)| (name, String::from_utf8(value.expose().to_vec()).unwrap()))
        .collect();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        given,
        [
            pair("LC_PROJECT", "own LC_PROJECT"),
            pair("PROJECT_1", "own PROJECT_1"),
            pair("A", "b c"),
            pair("LC_ALL", "C"),
        ]
    );
    assert!(!format!("{options:?}").contains("b c"), "{options:?}");
}

#[test]
fn the_built_in_defaults_are_those_of_ssh() {
    let printed = ssh(&["-F", "none", "-G", "-l", "somebody", "Host.Example"]);
    let theirs = SshOptions::parse(&printed, None).unwrap();
    let mut ours = SshOptions::defaults("/home/somebody", "somebody", "Host.Example");
    for name in &ours.identity_files {
        assert!(theirs.identity_files.contains(name), "{name}");
    }
    let names = |files: &[String]| -> Vec<String> {
        files.iter().map(|file| file.rsplit('/').next().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&ours.user_known_hosts_files), names(&theirs.user_known_hosts_files));
    ours.identity_files.clone_from(&theirs.identity_files);
    ours.user_known_hosts_files.clone_from(&theirs.user_known_hosts_files);
    // Without an ssh there are no lists of algorithms but the connection's own.
    ours.host_key_algorithms.clone_from(&theirs.host_key_algorithms);
    ours.kex_algorithms.clone_from(&theirs.kex_algorithms);
    ours.ciphers.clone_from(&theirs.ciphers);
    ours.macs.clone_from(&theirs.macs);
    ours.channel_overrides.clone_from(&theirs.channel_overrides);
    ours.pubkey_accepted_algorithms.clone_from(&theirs.pubkey_accepted_algorithms);
    assert_eq!(ours, theirs);
}

/// `ssh -G` prints ControlPath expanded, with the same rules as for identity files: so every token
/// can be compared.
#[test]
fn tokens_mean_what_they_mean_to_ssh() {
    let environment = |name: &str| (name == "GETO_TEST").then(|| "/geto".to_owned());
    let (id, uname) = (run("id", &["-u"]), run("uname", &["-n"]));
    let (local_user, passwd) = (run("id", &["-un"]), run("sh", &["-c", "eval echo ~$(id -un)"]));
    let home_of = |user: &str| (user == local_user).then(|| passwd.clone());
    let tokens = Tokens {
        original: "web1",
        hostname: "web1.example.net",
        port: 2200,
        remote_user: "me",
        host_key_alias: Some("alias"),
        jump: "",
        local_user: &local_user,
        home: &passwd,
        uid: id.parse().unwrap(),
        local_host: &uname,
        environment: &environment,
        home_of: &home_of,
    };
    let other_home = format!("~{local_user}/x");
    for value in [
        "/plain",
        "%%/%h",
        "/%n",
        "/%p",
        "/%r",
        "/%u",
        "/%d",
        "/%i",
        "/%k",
        "/%L",
        "/%l",
        "/%C",
        "${GETO_TEST}/x",
        "/a${GETO_TEST}b$c",
        "~/x",
        "~//x",
        "/x~",
        "%d%d",
        "/x y",
        &other_home,
    ] {
        let text = format!(
            "Host web1\nHostName %h.example.net\nUser me\nPort 2200\nHostKeyAlias alias\n\
             ControlPath \"{value}\"\n"
        );
        let theirs = options(&text, "web1").control_path;
        assert_eq!(tokens.expand_path(value).ok(), theirs, "{value}");
    }
    let text = |value: &str| tokens.expand_path(value).unwrap_err().to_string();
    assert_eq!(text("/%y"), "unknown token `%y` in `/%y`");
    assert_eq!(text("/%"), "`/%` ends with a single `%`");
    assert_eq!(text("/${X"), "`/${X` has a `${` without a name and `}`");
    assert_eq!(text("/${X}"), "environment variable `X` is not set");
    assert_eq!(text("~no\nbody/x"), "no home directory is known for user `no\\nbody`");
    assert_eq!(
        tokens.expand_proxy_command("nc %h:%p %n %r ~ ${X} %%").unwrap(),
        "nc web1.example.net:2200 web1 me ~ ${X} %"
    );
    assert!(tokens.expand_proxy_command("%d").is_err());
    assert_eq!(tokens.expand_agent("none"), Ok(Agent::None));
    assert_eq!(tokens.expand_agent("SSH_AUTH_SOCK"), Ok(Agent::Environment));
    assert_eq!(tokens.expand_agent("$GETO_TEST"), Ok(Agent::Socket("/geto".to_owned())));
    assert_eq!(tokens.expand_agent("~/a%"), Ok(Agent::Socket(format!("{passwd}/a%"))));
    assert_eq!(tokens.expand_tilde("~/100%"), Ok(format!("{passwd}/100%")));
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}
