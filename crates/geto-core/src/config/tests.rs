use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{Secret, TransportKind};

fn places() -> Places {
    Places { home: Some("/home/a".into()), state_home: None, base: Some("/etc/x".into()) }
}

fn parse(text: &str) -> Config {
    Config::parse("geto.ini", text, &places()).unwrap()
}

fn error(text: &str) -> String {
    let error = Config::parse("geto.ini", text, &places()).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    error.to_string()
}

#[test]
fn a_file_of_the_original_works_unchanged() {
    let config = parse(
        "; geto\n[geto]\nprivkey_path=~/.ssh/id_rsa\nremote_work_path=/tmp/geto\n\
         local_work_path=/var/tmp/geto\nremote_lock_path=/tmp/geto_lock\n\n[hosts]\n\
         server1=10.0.0.10\nserver2=server2.lab\n\n[server1]\nusername=athos\npassword=secret\n\
         port=22\n\n[server2]\nusername=porthos\n",
    );
    assert_eq!(config.settings.local_work_path, Path::new("/var/tmp/geto"));
    let [one, two] = &config.hosts[..] else { panic!("{config:?}") };
    assert_eq!(
        (one.name.as_str(), one.address.as_str(), one.port),
        ("server1", "10.0.0.10", Some(22))
    );
    assert_eq!(one.password, Some(Secret::from("secret")));
    assert_eq!(two.user.as_deref(), Some("porthos"));
    for host in [one, two] {
        assert_eq!(host.privkey_path.as_deref(), Some(Path::new("/home/a/.ssh/id_rsa")));
        assert_eq!(host.remote_work_path, "/tmp/geto");
        assert_eq!(host.remote_lock_path, "/tmp/geto_lock");
    }
    assert!(config.has_password());
}

#[test]
fn results_are_kept_for_thirty_days_or_for_ever_with_zero() {
    let kept = |line: &str| parse(&format!("[hosts]\na=b\n[geto]\n{line}\n")).settings.keep_results;
    assert_eq!(kept(""), Some(Duration::from_secs(30 * 86_400)));
    assert_eq!((kept("keep_results=0"), kept("keep_results=0d")), (None, None));
}

#[test]
fn reads_every_key_in_any_case_and_order() {
    let config = parse(
        "\u{feff}[Server1]\r\nSlots = 8 ; eight\r\nGPUS: 0\ntags=big, lab,,\nNice=19\ntransport=ssh\n\
         setup=. ~/venv/bin/activate; x=%h#1 # comment\nENV.Omp_Num=1\nenv.OMP_NUM=\n\
         [hosts]   # c\n  server1 : n.lab\n  six=[fe80::1%eth0]\n# c\n[geto]\nkeep_results=14d\n\
         REMOTE_CACHE_SIZE=10G\nknown_hosts_path=kh\nssh_config_path=~/c\nremote_work_path=~/w\n\
         remote_lock_path=lock\n",
    );
    let host = &config.hosts[0];
    assert_eq!((host.slots, host.gpus, host.nice), (Some(8), Some(0), Some(19)));
    assert_eq!(host.tags, ["big", "lab"]);
    assert_eq!(host.transport, TransportKind::Ssh);
    assert_eq!(host.setup.as_deref(), Some(". ~/venv/bin/activate; x=%h#1"));
    let env = [("Omp_Num", "1"), ("OMP_NUM", "")];
    assert_eq!(host.env, env.map(|(name, value)| (name.to_owned(), Secret::from(value))));
    assert_eq!(host.known_hosts_path.as_deref(), Some(Path::new("/etc/x/kh")));
    assert_eq!(host.ssh_config_path.as_deref(), Some(Path::new("/home/a/c")));
    assert_eq!((&*host.remote_work_path, &*host.remote_lock_path), ("~/w", "~/lock"));
    assert_eq!(config.hosts[1].address, "fe80::1%eth0");
    assert_eq!(config.settings.keep_results, Some(Duration::from_secs(14 * 86_400)));
    assert_eq!(config.settings.remote_cache_size, Some(10 << 30));
    assert!(!config.has_password());
}

#[test]
fn a_value_is_taken_as_it_stands() {
    let password = |line: &str| {
        let config = parse(&format!("[hosts]\na=b\n[a]\n{line}\n"));
        let password = config.hosts[0].password.clone()?;
        Some(String::from_utf8(password.expose().to_vec()).unwrap())
    };
    for text in ["a#b;c", "%(x)s%%", "\"q\"", "a=b:c", "a\\nb", "ä ö", "[x]", "a# b"] {
        assert_eq!(password(&format!("password={text}")).as_deref(), Some(text));
        assert_eq!(password(&format!("password: {text} ;c")).as_deref(), Some(text));
    }
    assert_eq!(password("password=a\t#b").as_deref(), Some("a"));
    assert_eq!(password("password=;x").as_deref(), Some(";x"));
    assert_eq!(password("password= ;x"), None);
}

#[test]
fn what_is_left_open_has_its_default() {
    let config = parse("[hosts]\na=b\n[a]\nusername=\nport=\n[geto]\nprivkey_path=\n");
    assert_eq!(config.hosts, [Host { address: "b".to_owned(), ..Host::new("a") }]);
    assert_eq!(config.settings, Settings::new("/home/a/.local/state/geto"));
}

#[test]
fn results_are_kept_under_the_users_state() {
    let path = |state: Option<&str>, home: Option<&str>| {
        let (home, state_home) = (home.map(PathBuf::from), state.map(PathBuf::from));
        Places { home, state_home, base: None }.local_work_path()
    };
    assert_eq!(path(Some("/s"), Some("/h")), Path::new("/s/geto"));
    assert_eq!(path(Some("relative"), Some("/h")), Path::new("/h/.local/state/geto"));
    assert_eq!(path(None, None), Path::new("geto-results"));
}

#[test]
fn errors_of_the_grammar_name_the_line() {
    insta::assert_snapshot!(error("[hosts\na=b"), @"`geto.ini` line 1: the name of the section lacks its `]`");
    insta::assert_snapshot!(error("[hosts]\na=b\n[a]\npassword s3cret"), @"`geto.ini` line 4, section `a`: no `=` in it; write key=value");
    insta::assert_snapshot!(error("[hosts]\n=b"), @"`geto.ini` line 2, section `hosts`: no key before `=`");
    insta::assert_snapshot!(error("\na=b"), @"`geto.ini` line 2, key `a`: it stands before the first section");
    insta::assert_snapshot!(error("[hosts]\na=b\n\nA=c"), @"`geto.ini` line 4, section `hosts`, key `A`: given twice, first on line 2");
    insta::assert_snapshot!(error("[hosts]\na=b\n[hosts]"), @"`geto.ini` line 3, section `hosts`: the section is there twice, first on line 1");
    insta::assert_snapshot!(error("[hosts]\na=b\n[a]\nenv.K=s3cret\nENV.K=s3cret"), @"`geto.ini` line 5, section `a`, key `ENV.K`: given twice, first on line 4");
    insta::assert_snapshot!(error("[hosts]\na=b\n[a]\npassword s3cret=x"), @"`geto.ini` line 4, section `a`, key `password …`: no such key; did you mean `password`?");
    insta::assert_snapshot!(error("[hosts]\na=b\n[a]\npassword=s3cret\u{7}"), @"`geto.ini` line 4, section `a`, key `password`: the value has a control character");
    insta::assert_snapshot!(error("[hosts]\na=b\n[\x1b[2J]"), @r"`geto.ini` line 3, section `\u{1b}[2J`: [hosts] has no host of this name");
}

#[test]
fn errors_of_keys_and_sections_give_the_nearest() {
    insta::assert_snapshot!(error("[hosts]\na=b\n[a]\nprot=22"), @"`geto.ini` line 4, section `a`, key `prot`: no such key; did you mean `port`?");
    insta::assert_snapshot!(error("[hosts]\na=b\n[a]\npasword=s3cret"), @"`geto.ini` line 4, section `a`, key `pasword`: no such key; did you mean `password`?");
    insta::assert_snapshot!(error("[hosts]\na=b\n[a]\nqueue=4"), @"`geto.ini` line 4, section `a`, key `queue`: no such key");
    insta::assert_snapshot!(error("[hosts]\na=b\n[a]\nprivkey_path=x"), @"`geto.ini` line 4, section `a`, key `privkey_path`: no such key here; it belongs in [geto]");
    insta::assert_snapshot!(error("[geto]\nusername=me\n[hosts]\na=b"), @"`geto.ini` line 2, section `geto`, key `username`: no such key here; it belongs in the section of a host");
    insta::assert_snapshot!(error("[geto]\nlocal_workpath=x\n[hosts]\na=b"), @"`geto.ini` line 2, section `geto`, key `local_workpath`: no such key; did you mean `local_work_path`?");
    insta::assert_snapshot!(error("[hosts]\nserver1=b\n\n[server]\n"), @"`geto.ini` line 4, section `server`: [hosts] has no host of this name; did you mean `server1`?");
    insta::assert_snapshot!(error("[host]\na=b"), @"`geto.ini` line 1, section `host`: [hosts] has no host of this name; did you mean `hosts`?");
    insta::assert_snapshot!(error("[hosts]\na=b\n[zzz]"), @"`geto.ini` line 3, section `zzz`: [hosts] has no host of this name");
}

#[test]
fn errors_of_hosts() {
    insta::assert_snapshot!(error(""), @"`geto.ini`: no host in it; write a section [hosts] with a line name=address");
    insta::assert_snapshot!(error("[geto]\n\n[hosts]\n"), @"`geto.ini` line 3, section `hosts`: no host in it; write a section [hosts] with a line name=address");
    insta::assert_snapshot!(error("[hosts]\nLocal=b"), @"`geto.ini` line 2, section `hosts`, key `Local`: no host can be called so: the name is geto's own");
    insta::assert_snapshot!(error("[hosts]\ngeto=b"), @"`geto.ini` line 2, section `hosts`, key `geto`: no host can be called so: the name is geto's own");
    insta::assert_snapshot!(error("[hosts]\na*=b"), @r"`geto.ini` line 2, section `hosts`, key `a*`: no name for a host: it is without white space, `*?[]{}!\`, `@`, `,`, `/`, `:`, and does not begin with `-`");
    for name in
        ["a b", "a@b", "a,b", "a/b", "a?", "[a", "{a", "-a", "a\x07", "!a", "a\\b", "a\u{a0}b"]
    {
        let refused = error(&format!("[hosts]\nx=y\n{name}=b"));
        assert!(refused.starts_with("`geto.ini` line 3, section `hosts`"), "{refused}");
    }
    insta::assert_snapshot!(error("[hosts]\na="), @"`geto.ini` line 2, section `hosts`, key `a`: no address");
    insta::assert_snapshot!(error("[hosts]\na=me@b"), @"`geto.ini` line 2, section `hosts`, key `a`: `me@b` is no address: a name or a number alone; user and port have keys of their own");
    for address in ["b:22", "-oProxyCommand=x", "b c", "a,b", "a/b"] {
        assert!(error(&format!("[hosts]\na={address}")).contains("is no address"), "{address}");
    }
}

#[test]
fn errors_of_values() {
    let of_host = |line: &str| error(&format!("[hosts]\na=b\n[a]\n{line}"));
    let of_geto = |line: &str| error(&format!("[hosts]\na=b\n[geto]\n{line}"));
    insta::assert_snapshot!(of_host("port=70000"), @"`geto.ini` line 4, section `a`, key `port`: `70000` is no port: a number from 1 to 65535");
    for port in ["0", "-1", "22x", "+22"] {
        assert!(of_host(&format!("port={port}")).contains("is no port"), "{port}");
    }
    insta::assert_snapshot!(of_host("slots=0"), @"`geto.ini` line 4, section `a`, key `slots`: `0` is no number from 1 to 65535");
    insta::assert_snapshot!(of_host("gpus=-1"), @"`geto.ini` line 4, section `a`, key `gpus`: `-1` is no number from 0 to 65535");
    insta::assert_snapshot!(of_host("nice=20"), @"`geto.ini` line 4, section `a`, key `nice`: `20` is no number from 0 to 19");
    insta::assert_snapshot!(of_host("transport=telnet"), @"`geto.ini` line 4, section `a`, key `transport`: `telnet` is no transport: native or ssh");
    insta::assert_snapshot!(of_host("tags=a,b c"), @r"`geto.ini` line 4, section `a`, key `tags`: `b c` is no tag: tags are without white space, `@`, `/` and `*?[]{}!\`");
    insta::assert_snapshot!(of_host("username=-l"), @"`geto.ini` line 4, section `a`, key `username`: `-l` is no name of a user");
    insta::assert_snapshot!(of_host("env.A-B=s3cret"), @"`geto.ini` line 4, section `a`, key `env.A-B`: no name for a variable: it takes letters, digits and `_`, not a digit first");
    insta::assert_snapshot!(of_host("env.GETO_HOST=s3cret"), @"`geto.ini` line 4, section `a`, key `env.GETO_HOST`: a variable of geto's own on hosts: give it another name");
    insta::assert_snapshot!(of_geto("keep_results=5x"), @"`geto.ini` line 4, section `geto`, key `keep_results`: `5x` is no duration: write whole seconds, or a number with s, m, h or d, as in 90, 5m, 2h");
    insta::assert_snapshot!(of_geto("remote_cache_size=5x"), @"`geto.ini` line 4, section `geto`, key `remote_cache_size`: `5x` is no size: write bytes, or a number with K, M, G or T (powers of 1024), as in 512K, 10G");
    insta::assert_snapshot!(of_geto("privkey_path=~bob/x"), @"`geto.ini` line 4, section `geto`, key `privkey_path`: `~bob/x` can't be resolved: of `~`, only `~/` is known");
    insta::assert_snapshot!(of_geto("remote_work_path=~bob/x"), @"`geto.ini` line 4, section `geto`, key `remote_work_path`: `~bob/x` can't be resolved: of `~`, only `~/` is known");
    let homeless = Config::parse("f", "[hosts]\na=b\n[geto]\nprivkey_path=~/x", &Places::default());
    insta::assert_snapshot!(homeless.unwrap_err(), @"`f` line 4, section `geto`, key `privkey_path`: `~/x` can't be resolved: your home directory is not known");
}

#[test]
fn debug_shows_no_secret() {
    let config = parse("[hosts]\na=b\n[a]\npassword=s3cret\nenv.K=s3cret");
    assert!(!format!("{config:?}").contains("s3cret"));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in r"(?s).{0,200}", lines in r"(\[?(hosts|geto|a|port|env\.K|tags)?[\]=:]? ?[;#~]?[a-z0-9é]{0,3}\n){0,12}") {
        let _unread = Config::parse("f", &text, &places());
        let _unread = Config::parse("f", &format!("[hosts]\na=b\n{lines}"), &places());
    }
}

#[test]
fn all_keys_are_documented() {
    let text = include_str!("../../../../docs/config.md");
    for key in read::SETTING_KEYS.iter().chain(&read::HOST_KEYS) {
        assert!(text.contains(&format!("\n| `{key}` | ")), "{key}");
    }
}
