//! Parts of generated statements that may go down whole.

use super::dice::Dice;

/// What an aggregate is made of.
pub(crate) struct Operands<'a> {
    pub(crate) any: &'a [&'a str],
    pub(crate) numbers: &'a [&'a str],
    pub(crate) ordered: &'a [&'a str],
    pub(crate) conditions: &'a [&'a str],
}

pub(crate) fn aggregate(dice: &mut Dice, operands: &Operands<'_>) -> String {
    let column = dice.pick(operands.any);
    let number = dice.pick(operands.numbers);
    let ordered = dice.pick(operands.ordered);
    let call = match dice.roll(8) {
        0 => "count(*)".to_owned(),
        1 => format!("count({column})"),
        2 => format!("count(DISTINCT {column})"),
        3 => format!("min({ordered})"),
        4 => format!("max({ordered})"),
        5 => format!("avg({number})"),
        _ => format!("sum({number})"),
    };
    if dice.roll(3) == 0 { format!("{call} FILTER (WHERE {})", dice.pick(operands.conditions)) } else { call }
}

/// Orders by the keys, nulls at either end, and takes at most so many rows.
pub(crate) fn top_n(dice: &mut Dice, keys: &[&str], most: usize) -> String {
    let keys: Vec<String> = keys
        .iter()
        .map(|key| {
            let way = dice.pick(&["ASC", "DESC"]);
            format!("{key} {way} NULLS {}", dice.pick(&["FIRST", "LAST"]))
        })
        .collect();
    format!("ORDER BY {} LIMIT {}", keys.join(", "), 1 + dice.roll(most))
}
