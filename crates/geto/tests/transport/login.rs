//! Who is let in, and what is said to those who are not.

use geto::transport::{ConnectOptions, connect};
use geto::{ErrorKind, Host, Secret, TransportKind};
use geto_testkit::{Agent, KeyKind, Server, Sshd, UserKey};

use crate::support::{BOTH, Scripted, asking, connected, host, run, tell};

/// Connects and opens a channel: a child `ssh` connects no earlier.
pub(crate) async fn try_host(host: &Host, options: &ConnectOptions) -> Result<(), geto::Error> {
    let transport = connect(host, options).await?;
    let mut channel = transport.open("exit 3").await?;
    assert_eq!(crate::support::read(&mut channel).await.exit, Some(3));
    Ok(())
}

async fn lets_in(server: &Server) {
    for kind in BOTH {
        let transport = connected(server, kind).await;
        assert_eq!(run(transport.as_ref(), "exit 5").await.exit, Some(5), "{kind:?}");
    }
}

#[tokio::test]
async fn keys_of_every_kind_log_in() {
    for kind in [KeyKind::Ed25519, KeyKind::Ecdsa, KeyKind::Rsa] {
        lets_in(&Sshd::builder().user_key(UserKey::new(kind)).start()).await;
    }
}

#[tokio::test]
async fn certificates_log_in_those_of_rsa_too() {
    for kind in [KeyKind::Ed25519, KeyKind::Rsa] {
        let key = UserKey::new(kind).certificate(KeyKind::Ed25519);
        lets_in(&Sshd::builder().user_key(key).start()).await;
    }
}

#[tokio::test]
async fn a_passphrase_is_asked_once_and_without_anybody_is_an_error() {
    for kind in BOTH {
        // A key of its own, since the process knows a passphrase whoever asked for it.
        let key = UserKey::new(KeyKind::Ed25519).passphrase("open sesame");
        let server = Sshd::builder().user_key(key).start();
        let error = try_host(&host(&server, kind), &ConnectOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication, "{kind:?}: {}", tell(&error));
        let person = Scripted::new(&["wrong", "open sesame"]);
        for _ in 0..2 {
            let result = try_host(&host(&server, kind), &asking(&person)).await;
            result.unwrap_or_else(|error| panic!("{kind:?}: {}", tell(&error)));
        }
        assert_eq!(person.questions().len(), 2, "{kind:?}: {:?}", person.questions());
        assert!(person.questions()[0].contains(&server.key().display().to_string()));
    }
}

#[tokio::test]
async fn a_wrong_key_is_named_in_the_error() {
    let server = Sshd::builder().start();
    let other = Sshd::builder().start();
    for kind in BOTH {
        let mut host = host(&server, kind);
        let config = fs_err::read_to_string(server.ssh_config()).unwrap();
        let path = server.dir().join("wrong_key_config");
        let key = other.key().display().to_string();
        let config = config.replace(&server.key().display().to_string(), &key);
        fs_err::write(&path, config).unwrap();
        host.ssh_config_path = Some(path);
        let error = try_host(&host, &ConnectOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication, "{}", tell(&error));
        let text = tell(&error);
        assert!(text.contains(&key) && text.contains("publickey"), "{text}");
        assert!(error.hint().is_some());
    }
}

#[tokio::test]
async fn a_key_file_that_others_can_read_is_not_used() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = Sshd::builder().start();
    fs_err::set_permissions(server.key(), std::fs::Permissions::from_mode(0o644)).unwrap();
    for kind in BOTH {
        let error = try_host(&host(&server, kind), &ConnectOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication, "{}", tell(&error));
        let text = tell(&error).to_lowercase();
        assert!(text.contains("permissions 0644") || text.contains("permissions 644"), "{text}");
    }
}

#[tokio::test]
async fn a_password_of_geto_ini_logs_in_by_either_method() {
    let servers = [
        Sshd::builder().password("pw 1").start(),
        Sshd::builder().keyboard_interactive("pw 1").start(),
    ];
    for server in &servers {
        for kind in BOTH {
            let mut host = host(server, kind);
            host.password = Some(Secret::from("pw 1"));
            let result = try_host(&host, &ConnectOptions::default()).await;
            result.unwrap_or_else(|error| panic!("{kind:?}: {}", tell(&error)));
        }
    }
}

#[tokio::test]
async fn a_wrong_password_of_geto_ini_is_named_with_its_section() {
    let servers = [
        Sshd::builder().password("pw 4").start(),
        Sshd::builder().keyboard_interactive("pw 4").start(),
    ];
    for server in &servers {
        for kind in BOTH {
            let mut host = host(server, kind);
            host.password = Some(Secret::from("wrong"));
            let error = try_host(&host, &ConnectOptions::default()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Authentication, "{}", tell(&error));
            let hint = error.hint().unwrap();
            let expected =
                "password of geto.ini was refused: correct `password` in section `[server]`";
            assert!(hint.contains(expected), "{kind:?}: {}", tell(&error));
        }
    }
}

#[tokio::test]
async fn a_password_is_asked_once_in_a_process() {
    let servers = [
        Sshd::builder().password("pw 2").start(),
        Sshd::builder().keyboard_interactive("pw 2").start(),
    ];
    for server in &servers {
        let host = host(server, TransportKind::Native);
        let person = Scripted::new(&["wrong", "pw 2"]);
        for _ in 0..2 {
            let result = try_host(&host, &asking(&person)).await;
            result.unwrap_or_else(|error| panic!("{}", tell(&error)));
        }
        assert_eq!(person.questions().len(), 2, "{:?}", person.questions());
    }
}

#[tokio::test]
async fn key_and_password_are_both_given_where_both_are_wanted() {
    let server = Sshd::builder()
        .user_key(UserKey::new(KeyKind::Ed25519))
        .keyboard_interactive("pw 3")
        .config("AuthenticationMethods publickey,keyboard-interactive")
        .start();
    for kind in BOTH {
        let mut host = host(&server, kind);
        host.password = Some(Secret::from("pw 3"));
        let result = try_host(&host, &ConnectOptions::default()).await;
        result.unwrap_or_else(|error| panic!("{kind:?}: {}", tell(&error)));
    }
}

#[tokio::test]
async fn key_files_of_old_formats_log_in() {
    for (kind, format) in [
        (KeyKind::Rsa, "PEM"),
        (KeyKind::Rsa, "PKCS8"),
        (KeyKind::Ecdsa, "PEM"),
        (KeyKind::Ecdsa, "PKCS8"),
    ] {
        for passphrase in ["", "old secret"] {
            let server = Sshd::builder().user_key(UserKey::new(kind)).start();
            let converted = std::process::Command::new("ssh-keygen")
                .args(["-p", "-m", format, "-P", "", "-N", passphrase, "-f"])
                .arg(server.key())
                .output()
                .unwrap();
            assert!(converted.status.success(), "{converted:?}");
            // Without it the key is known only once it is decrypted.
            fs_err::remove_file(format!("{}.pub", server.key().display())).unwrap();
            let person = Scripted::new(&[passphrase]);
            let host = host(&server, TransportKind::Native);
            if kind == KeyKind::Ecdsa && format == "PEM" && !passphrase.is_empty() {
                let error = try_host(&host, &asking(&person)).await.unwrap_err();
                assert!(tell(&error).contains("renew it with `ssh-keygen -p"), "{}", tell(&error));
                continue;
            }
            let result = try_host(&host, &asking(&person)).await;
            result.unwrap_or_else(|error| panic!("{kind:?} {format}: {}", tell(&error)));
            assert_eq!(person.questions().len(), usize::from(!passphrase.is_empty()));
        }
    }
}

#[tokio::test]
async fn privkey_path_and_known_hosts_path_of_geto_ini_count_before_ssh_config() {
    let server = Sshd::builder().start();
    for kind in BOTH {
        let mut host = Host::new(server.host());
        host.port = Some(server.port());
        host.user = Some(server.user().to_owned());
        host.privkey_path = Some(server.key().to_owned());
        host.known_hosts_path = Some(server.known_hosts());
        host.transport = kind;
        let config = server.dir().join("empty_config");
        fs_err::write(&config, "UserKnownHostsFile /dev/null\nIdentityFile none\n").unwrap();
        host.ssh_config_path = Some(config);
        let result = try_host(&host, &ConnectOptions::default()).await;
        result.unwrap_or_else(|error| panic!("{kind:?}: {}", tell(&error)));
    }
}

/// Also where another key would do: who names one does not want to get in by that.
#[tokio::test]
async fn a_privkey_path_where_nothing_is_is_an_error() {
    let server = Sshd::builder().start();
    for kind in BOTH {
        let mut host = host(&server, kind);
        host.privkey_path = Some(server.dir().join("no_such_key"));
        let error = try_host(&host, &ConnectOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication, "{}", tell(&error));
        let text = tell(&error);
        assert!(text.contains("`privkey_path` of geto.ini"), "{kind:?}: {text}");
        assert!(text.contains(&server.dir().join("no_such_key").display().to_string()), "{text}");
    }
}

/// Certificates that are named, keys of files that the agent holds, its others, then other files: as
/// `ssh` itself offers them, which is asked here.
#[tokio::test]
async fn keys_are_offered_in_the_order_of_ssh() {
    /// Four keys and a certificate.
    const COUNT: usize = 5;
    let certified = UserKey::new(KeyKind::Ed25519).certificate(KeyKind::Ed25519);
    let strangers = [
        Sshd::builder().start(),
        Sshd::builder().user_key(certified).start(),
        Sshd::builder().user_key(UserKey::new(KeyKind::Ecdsa)).start(),
        Sshd::builder().user_key(UserKey::new(KeyKind::Rsa)).start(),
    ];
    let [bare, with_certificate, held, other] = strangers.each_ref().map(Server::key);
    let certificate = format!("CertificateFile {}-cert.pub", with_certificate.display());
    for (in_agent, named) in [
        (vec![other, held], None),
        (vec![other, with_certificate], None),
        (vec![other], Some(certificate)),
    ] {
        let agent = Agent::start(&in_agent);
        let files = [bare, held, with_certificate];
        let files = files.map(|key| format!("IdentityFile {}", key.display()));
        let files = files.into_iter().chain(named).collect::<Vec<_>>().join("\n  ");
        let mut offered = Vec::new();
        for kind in BOTH {
            let server = Sshd::builder().config("MaxAuthTries 20").start();
            let mut host = host(&server, kind);
            let config = fs_err::read_to_string(server.ssh_config()).unwrap();
            let socket = format!("IdentityAgent {}", agent.socket().display());
            let config = config
                .replace("IdentityAgent none", &socket)
                .replace("IdentitiesOnly yes", "IdentitiesOnly no")
                .replace(&format!("IdentityFile {}", server.key().display()), &files);
            let path = server.dir().join("order_config");
            fs_err::write(&path, config).unwrap();
            host.ssh_config_path = Some(path);
            let error = try_host(&host, &ConnectOptions::default()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Authentication, "{}", tell(&error));
            // The server may still be writing it down.
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
            let keys = loop {
                let keys = refused_keys(&server.log());
                if keys.len() >= COUNT || std::time::Instant::now() > deadline {
                    break keys;
                }
                tokio::task::yield_now().await;
            };
            offered.push(keys);
        }
        assert_eq!(offered[0], offered[1]);
        assert_eq!(offered[0].len(), COUNT, "{offered:?}");
    }
}

/// The keys that a server has not taken, in their order, as its log has them.
fn refused_keys(log: &str) -> Vec<String> {
    let lines = log.lines().filter_map(|line| line.split_once("Failed publickey for"));
    lines.filter_map(|(_, key)| Some(key.split_once("ssh2: ")?.1.to_owned())).collect()
}
