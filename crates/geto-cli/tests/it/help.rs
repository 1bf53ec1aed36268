//! The help, which is the manual.

use crate::support::World;

#[test]
fn help_says_all_there_is() {
    let world = World::new();
    let commands = [
        "",
        "run",
        "each",
        "hosts",
        "ps",
        "logs",
        "attach",
        "wait",
        "kill",
        "fetch",
        "rm",
        "trust",
        "history",
        "clean",
        "rpc",
        "completions",
    ];
    for command in commands {
        let words: Vec<&str> =
            [command, "--help"].into_iter().filter(|word| !word.is_empty()).collect();
        let mut command_line = world.command(&words);
        let ran = world.env.run(command_line.env("COLUMNS", "100"));
        assert_eq!((ran.code(), ran.stderr.as_str()), (0, ""));
        let name = if command.is_empty() { "help".to_owned() } else { format!("help_{command}") };
        insta::assert_snapshot!(name, ran.text());
    }
}
