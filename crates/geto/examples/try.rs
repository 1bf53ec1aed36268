use geto::*;
#[tokio::main]
async fn main() {
    let mut a = std::env::args().skip(1);
    let dir = a.next().unwrap();
    let text = a.next().unwrap();
    let fleet = Fleet::new([Host::local()], dir);
    let task = Task::new(Script::from_text("try", text)).arg("a b\n'$(x)").arg(vec![255u8, 10]);
    let t = std::time::Instant::now();
    let r = fleet.run_on_host(&task, "local").follow(|e| eprintln!("{e:?}")).await;
    match r {
        Ok(r) => println!("{:?} {r:#?}", t.elapsed()),
        Err(e) => println!(
            "{e} {:?} {:?} {:?}",
            std::error::Error::source(&e).map(|e| e.to_string()),
            e.hint(),
            e.kind()
        ),
    }
}
