use super::*;

#[test]
fn values_are_checked_and_shown_as_postgresql_does() {
    let mut settings = Settings::default();
    for (name, value, shown) in [
        ("timezone", "asia/hong_kong", Ok("Asia/Hong_Kong")),
        ("TimeZone", "Mars/X", Err("22023")),
        ("TimeZone", "Mars+3/X", Err("22023")),
        ("TimeZone", "-3", Ok("<-03>+03")),
        ("TimeZone", "<-03>+03", Ok("<-03>+03")),
        ("TimeZone", "+05", Ok("<+05>-05")),
        ("TimeZone", "0", Ok("<+00>-00")),
        // Offsets that no zone of ours has.
        ("TimeZone", "5.5", Err("0A000")),
        ("TimeZone", "+05:30", Err("0A000")),
        ("TimeZone", "UTC+3", Err("0A000")),
        ("TimeZone", "<+0530>-5:30", Err("0A000")),
        ("datestyle", "iso, dmy", Ok("ISO, DMY")),
        ("datestyle", "German", Err("0A000")),
        ("statement_timeout", "1500", Ok("1500ms")),
        ("statement_timeout", "2min", Ok("2min")),
        ("statement_timeout", "x", Err("22023")),
        ("extra_float_digits", "3", Ok("3")),
        ("extra_float_digits", "9", Err("22023")),
        ("client_encoding", "utf-8", Ok("UTF8")),
        ("client_encoding", "'utf-8'", Ok("UTF8")),
        ("client_encoding", "latin1", Err("22023")),
        ("role", "postgres", Err("42501")),
        ("role", "none", Ok("none")),
        ("portolan.pushdown", "false", Ok("off")),
        // What is not there yet may be set to what asks for nothing, and is refused otherwise.
        ("portolan.kpi_rollup", "off", Ok("off")),
        ("portolan.kpi_rollup", "on", Err("0A000")),
        ("portolan.kpi_fill", "model", Ok("model")),
        ("portolan.kpi_fill", "on", Err("0A000")),
        ("portolan.kpi_fill", "sideways", Err("22023")),
        ("portolan.kpi_flat_reaggregate", "allow", Err("0A000")),
        ("portolan.max_staleness", "0", Ok("0")),
        ("portolan.max_staleness", "1 h", Ok("1h")),
        ("portolan.max_staleness", "90", Ok("90ms")),
        ("portolan.max_staleness", "-1", Err("22023")),
        ("portolan.max_staleness", "1 fortnight", Err("22023")),
        ("portolan.as_of", "", Ok("")),
        ("portolan.as_of", "lake=v12", Err("0A000")),
        ("portolan.arrow_views", "on", Err("0A000")),
        ("portolan.trace", "true", Err("0A000")),
        ("datafusion.execution.batch_size", "1", Err("42704")),
        ("server_version", "9", Err("42501")),
        ("nosuch", "1", Err("42704")),
    ] {
        let got = settings.set(name, Some(value));
        match shown {
            Ok(shown) => {
                assert_eq!(got.as_deref(), Ok(shown), "{name}");
                assert_eq!(settings.show(name).as_deref(), Ok(shown), "{name}");
            }
            Err(state) => assert_eq!(got.unwrap_err().code.sqlstate(), state, "{name}"),
        }
    }
}

#[test]
fn whole_hours_are_zones() {
    let mut settings = Settings::default();
    for (value, zone) in [("-3", "Etc/GMT+3"), ("+05", "Etc/GMT-5"), ("0", "UTC"), ("14", "Etc/GMT-14")] {
        settings.set("TimeZone", Some(value)).unwrap();
        assert_eq!(settings.time_zone(), zone, "{value}");
        assert!(settings.time_zone().parse::<chrono_tz::Tz>().is_ok(), "{zone}");
    }
}

#[test]
fn set_follows_the_transaction() {
    let mut settings = Settings::default();
    settings.set("extra_float_digits", Some("2")).unwrap();
    settings.begin();
    settings.set("extra_float_digits", Some("3")).unwrap();
    settings.set_local("TimeZone", Some("Africa/Dakar")).unwrap();
    assert_eq!(settings.time_zone(), "Africa/Dakar");
    settings.rollback();
    assert_eq!((settings.value("extra_float_digits"), settings.time_zone()), ("2", "UTC"));
    settings.begin();
    settings.set("extra_float_digits", Some("0")).unwrap();
    settings.set_local("TimeZone", Some("Africa/Dakar")).unwrap();
    settings.commit();
    assert_eq!((settings.value("extra_float_digits"), settings.time_zone()), ("0", "UTC"));
    settings.set_local("TimeZone", Some("Africa/Dakar")).unwrap();
    assert_eq!(settings.time_zone(), "UTC", "SET LOCAL outside a transaction has no effect");
    settings.reset_all();
    assert_eq!(settings.value("extra_float_digits"), "1");
}

#[test]
fn startup_values_are_what_reset_returns_to() {
    let mut settings = Settings::default();
    settings.set_startup("timezone", "Africa/Dakar").unwrap();
    settings.set("timezone", Some("UTC")).unwrap();
    settings.reset("TimeZone").unwrap();
    assert_eq!(settings.time_zone(), "Africa/Dakar");
    assert_eq!(settings.reported().len(), 14);
}

#[test]
fn what_decides_an_answer_is_everything_but_what_is_known_not_to() {
    let base = Settings::default().deciding();
    for (name, value, decides) in [
        ("TimeZone", "Africa/Dakar", true),
        ("search_path", "tos", true),
        ("extra_float_digits", "0", true),
        ("portolan.pushdown", "off", true),
        ("statement_timeout", "5s", false),
        ("application_name", "x", false),
        ("portolan.max_staleness", "1h", false),
    ] {
        let mut settings = Settings::default();
        settings.set(name, Some(value)).unwrap();
        assert_eq!(settings.deciding() != base, decides, "{name}");
    }
    let mut settings = Settings::default();
    settings.set_foreign("my.own", "1");
    assert_ne!(settings.deciding(), base);
    assert!(BESIDE.iter().all(|name| find(name).is_some()));
    settings.set("portolan.max_staleness", Some("1 h")).unwrap();
    assert_eq!(settings.max_staleness(), Some(Duration::from_secs(3600)));
    assert_eq!(Settings::default().max_staleness(), None);
}

#[test]
fn search_path_is_a_list_of_identifiers() {
    let mut settings = Settings::default();
    assert_eq!(settings.search_path(), ["public"]);
    settings.set("search_path", Some("Tos, \"Odd,Name\", kpi")).unwrap();
    assert_eq!(settings.search_path(), ["tos", "Odd,Name", "kpi"]);
}

#[test]
fn what_asks_for_nothing_is_the_default() {
    for def in TABLE {
        let Some((values, hint)) = def.only else { continue };
        assert!(values.contains(&def.default) && !hint.is_empty(), "{}", def.name);
    }
}
