use std::time::Duration;

use super::*;

const LAN: Opt<bool> = Opt::new("no-lan", "lan", "Speak on the local network")
    .default("on")
    .at(Places::LINE.and(Places::FILE).and(Places::FOLDER));
const JSON: Opt<bool> = Opt::new("log-json", "log_json", "Log JSON").default("off");
const PORT: Opt<Port> = Opt::new("lan-port", "lan_port", "The port")
    .default("29171")
    .needs_restart();
const NAME: Opt<String> = Opt::new("name", "name", "The name").default_help("the host's name");
const BIND: Opt<Vec<String>> = Opt::new("bind", "bind", "Interfaces");
const FREE: Opt<Size> = Opt::new("min-free", "min_free", "Left free")
    .default("256MiB")
    .at(Places::FOLDER);
const TABLE: [&Declaration; 6] = [
    &LAN.declaration,
    &JSON.declaration,
    &PORT.declaration,
    &NAME.declaration,
    &BIND.declaration,
    &FREE.declaration,
];

#[test]
fn sizes_and_times_are_read_as_people_write_them() {
    for (text, bytes) in [
        ("2GB", 2_000_000_000),
        ("2 GiB", 2 << 30),
        ("1000", 1000),
        ("1.5 KiB", 1536),
        ("0", 0),
    ] {
        assert_eq!(Size::read(text), Ok(Size(bytes)), "{text}");
    }
    for (text, seconds) in [
        ("90m", 5_400),
        ("1h", 3_600),
        ("1h 30m", 5_400),
        ("3600", 3_600),
        ("31days", 2_678_400),
    ] {
        assert_eq!(
            Span::read(text),
            Ok(Span(Duration::from_secs(seconds))),
            "{text}"
        );
    }
    assert_eq!(Days::read("2weeks"), Ok(Days(14)));
    assert_eq!(Days::read("0"), Ok(Days(0)));
}

#[test]
fn what_does_not_fit_is_refused_with_what_does() {
    let free = |text| FREE.declaration.parse("min_free", text);
    for text in [
        "",
        "1 parsec",
        "-1",
        "99999999999999999999",
        "18446744073709551615k",
        "2 EiB",
        "NaN",
    ] {
        let error = free(text).unwrap_err().to_string();
        assert!(error.contains("2 GiB"), "{text}: {error}");
    }
    for text in ["0", "", "-5", "32days", "1ms", "1 fortnight"] {
        assert!(Span::read(text).unwrap_err().contains("90m"), "{text}");
    }
    for text in ["0", "65536", "+5", "", "x"] {
        assert!(
            Port::read(text).unwrap_err().contains("1 to 65535"),
            "{text}"
        );
    }
    for text in ["-1", "36501", "12h", "9999999999999999days"] {
        assert!(Days::read(text).is_err(), "{text}");
    }
    assert_eq!(
        LAN.declaration
            .parse("lan", "maybe")
            .unwrap_err()
            .to_string(),
        "`maybe` is no value for `lan`: it takes on or off"
    );
    let error = find_setting(TABLE.into_iter(), "log_json").unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no setting `log_json`; there are: lan, min_free"
    );
}

#[test]
fn every_value_survives_being_kept() {
    for (option, text) in [
        (&TABLE[0], "off"),
        (&TABLE[2], "7"),
        (&TABLE[3], "a, b"),
        (&TABLE[4], "lo, eth0"),
        (&TABLE[5], "3GB"),
    ] {
        let value = option.read(text).unwrap();
        assert_eq!(option.read(&value.to_string()).unwrap(), value, "{text}");
        let json = serde_json::to_string(&value).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), value);
    }
}

#[test]
fn defaults_are_what_is_there_when_nothing_was_said() {
    let values = Values::default();
    assert!(values.get(&LAN) && !values.get(&JSON));
    assert_eq!(values.get(&PORT), Port(29171));
    assert_eq!(values.get(&BIND), Vec::<String>::new());
    assert_eq!(values.find(&NAME), None);
    let full = values.complete(TABLE.into_iter(), Places::FOLDER);
    assert_eq!(
        serde_json::to_value(full).unwrap(),
        serde_json::json!({"lan": true, "min_free": 268_435_456_u64})
    );
}

#[test]
fn the_upper_source_wins_and_changes_are_told() {
    let line = Values::default().with(&NAME, "line".into());
    let file = Values::default()
        .with(&NAME, "file".into())
        .with(&LAN, false);
    let both = line.over(file);
    assert_eq!(both.find(&NAME).as_deref(), Some("line"));
    assert!(!both.get(&LAN));
    // The default said aloud is no change.
    let spoken = Values::default().with(&PORT, Port(29171));
    assert!(
        Values::default()
            .changes(&spoken, TABLE.into_iter())
            .is_empty()
    );
    let changed: Vec<&str> = Values::default()
        .changes(&both, TABLE.into_iter())
        .iter()
        .map(|o| o.name)
        .collect();
    assert_eq!(changed, ["no-lan", "name"]);
}

#[test]
fn a_list_grows_and_a_setting_replaces_it() {
    let mut values = Values::default();
    values.put(&BIND.declaration, BIND.declaration.read("lo").unwrap());
    values.put(&BIND.declaration, BIND.declaration.read("eth0").unwrap());
    assert_eq!(values.get(&BIND), ["lo", "eth0"]);
    values.set(&BIND.declaration, BIND.declaration.read("").unwrap());
    assert_eq!(values.get(&BIND), Vec::<String>::new());
}

#[test]
fn the_help_tells_the_default() {
    assert_eq!(
        PORT.declaration.explained(),
        "The port [default: 29171]".to_owned()
    );
    assert_eq!(
        NAME.declaration.explained(),
        "The name [default: the host's name]"
    );
    assert_eq!(LAN.declaration.explained(), "Speak on the local network");
    assert_eq!(BIND.declaration.explained(), "Interfaces");
}
