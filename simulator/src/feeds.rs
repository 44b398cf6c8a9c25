//! The feed contract: which feed field carries which truth. No code, on purpose: a reader of the feeds (ingest)
//! implements this page and must never read the truth tables, which exist only to score it.
//!
//! At `dirt 0` every statement below is exact: whole seconds, whole kilograms, two decimals of TEU. At `dirt > 0`
//! the defects of the last section are laid over the same feeds and each one is a row of `truth_defect`; truth itself
//! never changes with dirt, AIS rate or thread count. All intervals are half-open `[start, end)`.
//!
//! # 1. Window and open items
//! A call is in the feeds when its ATA-PBP lies in `[from, to)`, or when it was announced (first ETA recorded) before
//! `to` and its ATA lies at or after `to` (an *expected* call: `port_calls.ata`, `atd` NULL, no visits; it is **not**
//! a call for V14 and has no fact row). Nothing that happened at or after `to` is told: `ata`, `atd`, `all_fast`,
//! `first_line`, `last_line`, `end_time` are NULL then; visits and operations that have not begun are absent.
//! An unfinished operation (`end_time` NULL) shows `tonnes`, `teu`, `boxes`, `units`, `restows`, `crane_hours` = 0.
//! Documents have a record time `< to`; those of a shown call that were recorded before `from` are there too.
//! [`crate::Weather`] covers the hours `[from, to)` (plus forecast hours after `to`); closures start **open** at
//! `from` and are cut at `to`.
//!
//! # 2. Relational feed (`tos`), table `tos.*`, definitions in [`crate::tos_tables`]
//! `timestamp` columns have no zone. **Zone by column**: UTC everywhere, except the agents' columns
//! `port_calls.eta` and `port_calls.etd`, which are Europe/Paris (in the autumn overlap the earlier offset).
//!
//! | truth | feed field |
//! |---|---|
//! | call exists (V14) | `port_calls` row with `ata` not NULL and `deleted = 0` |
//! | ATA-PBP | `port_calls.ata` (source: port authority, copied from the pilot) |
//! | ATD of the last visit (`atd_last`) | `port_calls.atd` = greatest `berth_visits.last_line` of the call; NULL = open call |
//! | proforma arrival (D01p, D02) | `port_calls.proforma_eta`, NULL for tramps |
//! | agent, vessel, ports, service | `port_calls.agent`, `.vessel_id`, `.prev_port`, `.next_port`, `.service_code` |
//! | order of the visits | `berth_visits.all_fast` ascending, then `visit_id` |
//! | all fast (= ATA-Berth) | `berth_visits.all_fast` (`first_line` is 10-20 min earlier, except right at ATA: never before `ata`) |
//! | ATD-Berth of the visit | `berth_visits.last_line`, NULL = open visit |
//! | berth, terminal of the visit | `berth_visits.berth_id` → `berths.terminal_id` |
//! | ATS of the visit | least `cargo_operations.start_time` of the visit; none = visit without cargo |
//! | ATC of the visit | greatest `end_time` of the visit, NULL when any operation of it has `end_time` NULL |
//! | work intervals | per operation `[start_time, end_time)` minus its `op_stoppages`; D12 = length of the **union** over the visit |
//! | tonnes, TEU, boxes, units, restows, crane hours | `cargo_operations`, same names; class and commodity by `cargo_code` → `ref_cargo` |
//! | direction, trade | `cargo_operations.direction` (`D`, `L`; `R` never occurs), `.trade` (`IM`, `EX`, `TR`, `TS`) |
//! | vessel attributes at ATA | `vessel_history` row of the `vessel_id` with `valid_from <= ata < coalesce(valid_to, infinity)` |
//! | berth attributes at all fast | `berths` row of the `berth_id` with `valid_from <= date(all_fast) < coalesce(valid_to, infinity)` |
//!
//! A visit without cargo (cruise, other) has no operation: its D12 is 0, all of D09 is idle, ATS and ATC are NULL, and
//! the whole of D09 counts as end lag (`Wd` = `[all fast, ATD)`, exposed to pilotage; `Wk` empty).
//! `op_stoppages` holds weather stops (reason `WEA`) and other stops (`CRN LAB FTE YRD PLT HOL CIN`), one row per
//! operation that was running; an open stop has `end_time` NULL and ends at `to`.
//!
//! Hours from these: D05 = first `all_fast` - `ata`; D09 = `last_line` - `all_fast`; D13 = D09 - D12; D14 = `atd` -
//! `ata`; `shift_h` = D14 - D05 - Σ D09. D05 is NULL until the first all fast; D09, D13, D14 are NULL while open.
//!
//! # 3. Weather attribution
//! Closures are **not** in any feed (there is no harbour master's log): compute them from the hourly REST weather
//! with the rules of [`crate::closure`] (thresholds in m/s, m, mm/h, on f64; the REST default is km/h: divide by 3.6).
//! No served value lies exactly on a wind or visibility threshold. One weather point serves all terminals.
//! Work channel of an operation by `ref_cargo.cargo_class`: `container` → crane; `dry_bulk`, `bagged` → bulk;
//! `liquid_bulk` → liquid; `breakbulk`, `ro_ro`, `fish` → none (never closed).
//! Call level: `weather_wait` = `[ata, first all_fast)` ∩ pilotage (NULL before the first all fast). Strict:
//! additionally ∩ `[previous last_line at the same berth, all_fast)`, previous = the visit in this feed with the
//! greatest `last_line <= all_fast` there (none = free since for ever).
//! Visit level: `weather_stop` = idle inside `[all_fast, ATC)` ∩ "every operation of the visit with
//! `end_time > t` is in a closed channel" + `[ATC, last_line)` ∩ pilotage; NULL while the visit is open.
//!
//! # 4. Documents: `port_call_events.ndjson`, one JSON object per line, four generations in one file
//! Told by shape. ETA to the **pilot boarding place** is what D01/D04 use; ETA-berth messages are there as well and
//! must not be mixed in. EST values and record times are whole minutes, so no generation loses anything; ACT times in
//! v1 are cut to the minute (v1 ACT is a low-precedence second report; `tos` has the seconds).
//!
//! - **v1**, key `evt`: `{"callNo","evt","ts","rec","src","agent","ship","imo"}`. `evt` = `ETA` (PBP, EST), `ETB` (berth
//!   arrival EST), `ETD` (berth departure EST), `ATA` (PBP, ACT), `ATB` (all fast, ACT), `ATD` (berth departure, ACT).
//!   `ts` (event) and `rec` (record time) are **Europe/Paris** wall clock, `21-AUG-2025 18:47`; about a fifth use the second
//!   format `2025/08/21 18:47`. A time in the DST overlap is never sent as v1 (v2 instead).
//! - **v2**, key `eventType`: `{"uuid","eventType","recordTime","eventTime","ship":{"imo","mmsi","name"},"port","portcallId",
//!   "location":{"type","name"},"context":{"draught","movementId","berthVisitId"}}`. `eventType` = `<place>.<kind>.<source>`;
//!   places `pbp berth allfast anchorage pilotage cargo seapassage ready`; kinds `eta etd pta ptd ata atd ats atc`;
//!   sources `pilot portauthority terminal ship agent carrier`. Both times RFC 3339 with offset (`Z`, `+01:00`, `+02:00`).
//!   `draught` in **cm**; `imo` is int, string or null by sender. `berthVisitId` = `berth_visits.visit_id` or null.
//! - **v3**, key `schemaVersion` = `"2.0"`: `{"schemaVersion","portCallID","portCallServiceID","portCallServiceTypeCode",
//!   "portCallServiceEventTypeCode","publisherRole","vessel":{"vesselIMONumber","MMSINumber","name"},"facility","berthVisitId",
//!   "timestamps":[{"timestampID","replyToTimestampID","classifierCode","dateTime","createdDateTime","delayReasonCode","remark"}]}`.
//!   `createdDateTime` is the record time. One document per call, service, event, publisher and visit for the agent's ETA-PBP: all its revisions are in the array; other events come one per document.
//!   `publisherRole`: `PLT ATH TR VSL AG CA` = pilot, port authority, terminal, ship, agent, carrier.
//! - **v4**, key `callReference` (community system), exactly one per shown call: `{"callReference","snapshotTime","vessel":{"imo",
//!   "name","callSign"},"agentInfo":[{"agent","eta","etaTimeStamp"}],"portAreaDetails":[{"portAreaCode","berthDetails":[{"berthCode",
//!   "visitId","eta","etaTimeStamp","etaSource","ata","atd"}]}],"delayInfo":[{"reasonCode","minutes","reportedBy","reportedAt"}]}`.
//!   `agentInfo` holds ETA-PBP revisions (`etaTimeStamp` = record time): all of them for agents that use this system,
//!   else only the latest, repeated. `berthDetails.ata` = all fast, `.atd` = last line, to the second. All times RFC 3339 `Z`.
//!
//! | truth | documents |
//! |---|---|
//! | ETA-PBP as of record time (D01 `eta_ref_ts`, D04) | the EST of pilot boarding place arrival: v1 `ETA`, v2 `pbp.eta.agent`, v3 `PILOT_BOARDING_PLACE`/`ARRI`/`EST`, v4 `agentInfo`; one call's revisions come in **one** generation (v1 agents: v2 for times in the DST overlap; plus the repeated one in v4). `eta_ref` = the one with the greatest record time `<= ata - 24 h`; two revisions of a call never share a record time |
//! | reported delay reasons (W14, D28, `delay_reason`) | v4 `delayInfo` (whole minutes; sum over the codes `<=` (D05 + D13) of the call). `delay_reason` = code with most minutes, then alphabetical |
//! | other ACT events (EOSP, POB, anchorage, gangway, SOSP) | v2 and v3; SOSP = `seapassage.ats` / `SEA_PASSAGE`/`STRT` |
//!
//! Event key for deduplication: (call, service, event, classifier, source, visit, event time, record time).
//! Default source precedence: pilot > port authority > terminal > AIS > ship > agent > carrier.
//!
//! # 5. Other feeds
//! - `vessel_movements`, the port authority's stream, keyed by `port_call_id`, about 45 events a call: the agent's ETA
//!   revisions, and what happened as one to three reporters say it. One JSON object each: `schema_version` 1, `event_id`
//!   (unique), `port_call_id`, `movement_id` (`<call>-M<n>`: 1 is the way in, then each shift, the last the way out),
//!   `phase` (`INBD ALGS SHIF OUTB`), `berth_visit_id` and `berth_id` or null, `service`, `event`, `classifier` in the words
//!   of v3, `event_time` and `record_time` (RFC 3339 `Z`), `reporter` as in v2, `imo_no` text or null, `mmsi`, `vessel_name`.
//!   It tells what the documents tell, by the same reporters, and also `TOWAGE`, inbound `PILOTAGE`/`CMPL`, outbound
//!   `PILOTAGE`/`STRT`, `GANGWAY_DOWN_AND_SECURE`, `VESSEL_READY_FOR_CARGO_OPERATIONS`. No KPI needs it.
//! - `ais_positions.parquet`: `mmsi` text, `ts` timestamptz, `lat`, `lon`, `sog`, `cog` f64, `heading`, `nav_status` i32, `station` text, `draught_dm` i32.
//! - Weather REST ([`crate::weather_router`]): `/v1/forecast`, `/v1/archive`, `/v1/marine`, Open-Meteo shape, UTC hours.
//!   A sample at `t` covers `[t, t + 1 h)`, precipitation included.
//!
//! # 6. Dirt (rates at `dirt 1`, linear in dirt) and what a good reader makes of it
//! | feed | `kind` in `truth_defect` | rate | right treatment |
//! |---|---|---|---|
//! | vessels | `imo_missing` 4.3 %, `imo_temp` (`TEMP00167`) 9.6 %, `imo_bad_check` 1 % | of vessels | identity by MMSI, call sign |
//! | vessels | `mmsi_wrong_length` 0.2 %, `mmsi_zero` 0.2 %, `name_trailing_blank` 4 %, `name_misspelt` 0.5 % | of vessels | trim; never merge by name alone |
//! | vessels | `vessel_duplicated`: a second `vessel_id`, no IMO, same MMSI and call sign; some calls use it | 3 % | resolve to one |
//! | port_calls | `ata_sentinel` (`9999-12-31 00:00`, `1000-01-01 00:00`) | 0.3 % | ATA from the pilot's ACT document (v2 `pbp.ata.pilot`, always present for these) |
//! | port_calls | `phantom_call`: `deleted = 1`, or status OMIT/ANNULE with `ata` NULL | 1 % | not a call |
//! | port_calls | `status_free_text` three languages | all | a crosswalk, or ignore |
//! | berth_visits | `last_line_missing` on a call that left (`atd` there) | 0.2 % | v4 `berthDetails.atd` |
//! | cargo_operations | `terminal_spelling` (crosswalk of spellings) | 20 % | crosswalk; the berth decides |
//! | cargo_operations | `terminal_unknown` | 0.1 % | key -3 or the berth's terminal, tonnes stay |
//! | cargo_operations | `tonnes_in_kg` (x 1000) | 0.05 % | quarantine (over any ship's deadweight) |
//! | cargo_operations | `times_swapped` (`end_time < start_time`) | 0.1 % | quarantine the row with a rule id |
//! | cargo_operations | `orphan_visit` (visit_id not in `berth_visits`) | 0.05 % | quarantine, or inferred |
//! | documents | `duplicate` 0.5 %, `out_of_order` 5 % | of lines | dedupe by event key; order by record time |
//! | documents | `undecodable` (cut line) 0.05 %, `unknown_shape` 0.05 % | extra lines, nothing lost | quarantine |
//! | documents | `time_without_offset` (v2) | extra second report by `carrier`, 0.1 % | quarantine, never UTC |
//! | documents | `imo_type`, null or `TEMP…` in `imo` | 5 % | the call id decides |
//! | documents | ACT jitter: reporters other than pilot and port authority are off by up to 10 min | half | precedence |
//! | movements | `duplicate` 0.5 %, `out_of_order` 5 %, `undecodable` 0.05 %, `unknown_shape` 0.05 %, `time_without_offset` 0.1 %, `imo_type` 5 % | of messages | as of documents; `event_id` tells duplicates. ACT jitter as there, drawn anew |
//! | weather | `null_sample` (all values of an hour null) | 0.3 % | state is kept |
//! | ais | `heading_511` 15 %, `cog_360` 9 %, `sog_1023` 0.4 %, `duplicate` 0.5 %, receive order | of rows | sentinels are NULL |
