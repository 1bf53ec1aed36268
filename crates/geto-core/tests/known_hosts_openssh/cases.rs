//! Keys, known_hosts files and what `ssh` makes of them.

/// What a host offers and what is known.
pub(crate) struct Case {
    /// What the case is about.
    pub(crate) fact: &'static str,
    /// `host`, `host:port` or `host:port:alias`.
    pub(crate) host: &'static str,
    /// The name of the key or certificate that the server has.
    pub(crate) server: &'static str,
    /// The files, with `{key}` and `{#hashed name}`.
    pub(crate) files: &'static [&'static str],
    /// `known`, `unknown`, `changed`, `revoked`, with file and line from 1 as `2:3`.
    pub(crate) verdict: &'static str,
}

const fn case(
    fact: &'static str,
    host: &'static str,
    server: &'static str,
    files: &'static [&'static str],
    verdict: &'static str,
) -> Case {
    Case { fact, host, server, files, verdict }
}

/// What a line means.
pub(crate) const ENTRIES: &[Case] = &[
    case("nothing is known", "n1.lab", "ed", &[""], "unknown"),
    case("plain", "n1.lab", "ed", &["n1.lab {ed}\n"], "known 1:1"),
    case("without a last end of line", "n1.lab", "ed", &["n1.lab {ed}"], "known 1:1"),
    case("other host", "n1.lab", "ed", &["n2.lab {ed}\n"], "unknown"),
    case("capitals in the list", "n1.lab", "ed", &["N1.Lab {ed}\n"], "known 1:1"),
    case("capitals asked for", "N1.LAB", "ed", &["n1.lab {ed}\n"], "known 1:1"),
    case("comma list", "n1.lab", "ed", &["a,n1.lab,10.0.0.1 {ed}\n"], "known 1:1"),
    case("blank in a list", "n1.lab", "ed", &["a, n1.lab {ed}\n"], "unknown"),
    case("wildcards", "n1.lab", "ed", &["n?.l* {ed}\n"], "known 1:1"),
    case("negated", "n1.lab", "ed", &["*.lab,!n1.lab {ed}\n"], "unknown"),
    case("negated alone", "n1.lab", "ed", &["!n2.lab {ed}\n"], "unknown"),
    case("hashed", "n1.lab", "ed", &["{#n1.lab} {ed}\n"], "known 1:1"),
    case("hashed for another", "n1.lab", "ed", &["{#n2.lab} {ed}\n"], "unknown"),
    case("hash in a list", "n1.lab", "ed", &["{#n1.lab},x {ed}\n"], "unknown"),
    case("hash of another kind", "n1.lab", "ed", &["|2|aa|bb {ed}\nn1.lab {ed}\n"], "known 1:2"),
    case("tabs", "n1.lab", "ed", &["\t n1.lab\t\t{ed}\tcomment\n"], "known 1:1"),
    case("carriage returns", "n1.lab", "ed", &["# x\r\n\r\nn1.lab {ed}\r\n"], "known 1:3"),
    case(
        "comments and junk",
        "n1.lab",
        "ed",
        &["#n\n\nn1.lab\nn1.lab ssh-rsa\nn1.lab {ed}\n"],
        "known 1:5",
    ),
    case("unknown key type", "n1.lab", "ed", &["n1.lab ssh-moon AAAA\n"], "unknown"),
    case("bad base64", "n1.lab", "ed", &["n1.lab ssh-ed25519 AAAA!\nn1.lab {ed}\n"], "known 1:2"),
    case(
        "type and blob differ",
        "n1.lab",
        "ed",
        &["n1.lab ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"],
        "unknown",
    ),
    case("second file", "n1.lab", "ed", &["x {ed}\n", "# \nn1.lab {ed}\n"], "known 2:2"),
    case("other key", "n1.lab", "ed", &["# x\nn1.lab {ed2}\n"], "changed 1:2"),
    case(
        "two other keys: the last is named",
        "n1.lab",
        "ed",
        &["n1.lab {ed2}\n", "n1.lab {ed3}\n"],
        "changed 2:1",
    ),
    case(
        "the right key behind a wrong one",
        "n1.lab",
        "ed",
        &["n1.lab {ed2}\n", "n1.lab {ed}\n"],
        "known 2:1",
    ),
    case("only another type", "n1.lab", "ed", &["n1.lab {ec}\n"], "changed 1:1"),
    case("only rsa", "n1.lab", "ec", &["n1.lab {rsa}\n"], "changed 1:1"),
    case(
        "another type and the right key",
        "n1.lab",
        "ed",
        &["n1.lab {ec}\nn1.lab {ed}\n"],
        "known 1:2",
    ),
    case("rsa", "n1.lab", "rsa", &["n1.lab {rsa}\n"], "known 1:1"),
    case("ecdsa", "n1.lab", "ec", &["n1.lab {ec}\n"], "known 1:1"),
    case("ecdsa changed", "n1.lab", "ec", &["n1.lab {ec2}\n"], "changed 1:1"),
    case("an address", "10.9.8.7", "ed", &["10.9.8.* {ed}\n"], "known 1:1"),
    case("an IPv6 address", "fe80::1", "ed", &["fe80::1 {ed}\n"], "known 1:1"),
];

/// Names other than the plain host.
pub(crate) const PORTS_AND_ALIASES: &[Case] = &[
    case("port", "n1.lab:2222", "ed", &["[n1.lab]:2222 {ed}\n"], "known 1:1"),
    case("port, hashed", "n1.lab:2222", "ed", &["{#[n1.lab]:2222} {ed}\n"], "known 1:1"),
    case("other port", "n1.lab:2222", "ed", &["[n1.lab]:2223 {ed}\n"], "unknown"),
    case("any port", "n1.lab:2222", "ed", &["[n1.lab]:* {ed}\n"], "known 1:1"),
    case("star for host and port", "n1.lab:2222", "ed", &["* {ed}\n"], "known 1:1"),
    case("entry without port has the key", "n1.lab:2222", "ed", &["n1.lab {ed}\n"], "known 1:1"),
    case("entry without port has another key", "n1.lab:2222", "ed", &["n1.lab {ed2}\n"], "unknown"),
    case(
        "entry without port does not excuse a change",
        "n1.lab:2222",
        "ed",
        &["n1.lab {ed}\n[n1.lab]:2222 {ed2}\n"],
        "changed 1:2",
    ),
    case("entry with port for port 22", "n1.lab", "ed", &["[n1.lab]:22 {ed}\n"], "unknown"),
    case("IPv6 with port", "fe80::1:2222", "ed", &["[fe80::1]:2222 {ed}\n"], "known 1:1"),
    case("alias", "n1.lab:22:web", "ed", &["web {ed}\n"], "known 1:1"),
    case("alias in capitals", "n1.lab:22:Web", "ed", &["{#web} {ed}\n"], "known 1:1"),
    case("alias takes no port", "n1.lab:2222:web", "ed", &["web {ed}\n"], "known 1:1"),
    case("alias, not the name", "n1.lab:22:web", "ed", &["n1.lab {ed}\n"], "unknown"),
    case(
        "alias changed",
        "n1.lab:2222:web",
        "ed",
        &["web {ed2}\n[n1.lab]:2222 {ed}\n"],
        "changed 1:1",
    ),
];

/// Authorities, certificates and revoked keys.
pub(crate) const MARKERS: &[Case] = &[
    case("revoked", "n1.lab", "ed", &["n1.lab {ed}\n@revoked * {ed}\n"], "revoked"),
    case(
        "revoked for another host",
        "n1.lab",
        "ed",
        &["n1.lab {ed}\n@revoked n2.lab {ed}\n"],
        "known 1:1",
    ),
    case("another key revoked", "n1.lab", "ed", &["n1.lab {ed}\n@revoked * {ed2}\n"], "known 1:1"),
    case("revoked and hashed", "n1.lab", "ed", &["@revoked {#n1.lab} {ed}\n"], "revoked"),
    case(
        "tabs behind the marker",
        "n1.lab",
        "ed",
        &["@revoked\tn1.lab\tssh-ed25519\tAAAA\n@revoked *\t{ed}\n"],
        "revoked",
    ),
    case(
        "a tab behind the marker, then a space",
        "n1.lab",
        "ed",
        &["n1.lab {ed}\n@revoked\t* {ed}\n"],
        "known 1:1",
    ),
    case("two markers", "n1.lab", "ed", &["n1.lab {ed}\n@revoked @revoked * {ed}\n"], "known 1:1"),
    case("unknown marker", "n1.lab", "ed", &["@trusted n1.lab {ed}\n"], "unknown"),
    case(
        "an authority is no host key",
        "n1.lab",
        "ed",
        &["@cert-authority n1.lab {ed}\n"],
        "unknown",
    ),
    case("authority", "n1.lab", "good", &["@cert-authority *.lab {ca}\n"], "known 1:1"),
    case(
        "authority with port",
        "n1.lab:2222",
        "good",
        &["@cert-authority [*.lab]:2222 {ca}\n"],
        "known 1:1",
    ),
    case(
        "authority without port for a port",
        "n1.lab:2222",
        "good",
        &["@cert-authority n1.lab {ca}\n"],
        "known 1:1",
    ),
    case("other authority", "n1.lab", "good", &["@cert-authority * {ca2}\n"], "unknown"),
    case(
        "authority for another host",
        "n1.lab",
        "good",
        &["@cert-authority n2.lab {ca}\n"],
        "unknown",
    ),
    case("authority without marker", "n1.lab", "good", &["n1.lab {ca}\n"], "changed 1:1"),
    case("certificate, the plain key is known", "n1.lab", "good", &["n1.lab {ed}\n"], "known 1:1"),
    case(
        "certificate, the plain key has changed",
        "n1.lab",
        "good",
        &["n1.lab {ed2}\n"],
        "changed 1:1",
    ),
    case(
        "authority and a changed plain key",
        "n1.lab",
        "good",
        &["n1.lab {ed2}\n@cert-authority * {ca}\n"],
        "known 1:2",
    ),
    case("certificate for any name", "n1.lab", "any", &["@cert-authority * {ca}\n"], "known 1:1"),
    case(
        "certificate for another name",
        "n1.lab",
        "stranger",
        &["@cert-authority * {ca}\n"],
        "unknown",
    ),
    case(
        "certificate for the alias",
        "n1.lab:22:n2.lab",
        "stranger",
        &["@cert-authority n2.lab {ca}\n"],
        "known 1:1",
    ),
    case(
        "certificate for another name, plain key known",
        "n1.lab",
        "stranger",
        &["@cert-authority * {ca}\nn1.lab {ed}\n"],
        "known 1:2",
    ),
    case("wildcard in a certificate", "n1.lab", "star", &["@cert-authority * {ca}\n"], "unknown"),
    case("expired certificate", "n1.lab", "expired", &["@cert-authority * {ca}\n"], "unknown"),
    case("certificate for users", "n1.lab", "users", &["@cert-authority * {ca}\n"], "unknown"),
    case(
        "revoked authority",
        "n1.lab",
        "good",
        &["@cert-authority * {ca}\n@revoked * {ca}\n"],
        "revoked",
    ),
    case(
        "revoked key in a certificate",
        "n1.lab",
        "good",
        &["@cert-authority * {ca}\n@revoked * {ed}\n"],
        "revoked",
    ),
];
