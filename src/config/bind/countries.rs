//! The codes of countries (ISO 3166-1 alpha-2), two letters each.

/// Those that are given, and `XK`: what everybody, the databases among them, writes for Kosovo.
const GIVEN: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ \
BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER \
ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM \
IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF \
MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK \
PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD \
TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW";

/// What people write for a country whose code is another one: reserved for it, withdrawn, or not
/// given at all.
const MEANT: [(&str, &str); 9] = [
    ("EL", "GR"),
    ("EN", "GB"),
    ("JA", "JP"),
    ("KO", "KR"),
    ("RB", "BW"),
    ("SU", "RU"),
    ("TP", "TL"),
    ("UK", "GB"),
    ("ZR", "CD"),
];

/// Whether a code is given; else what was meant by it, if that is known.
pub(super) fn look_up(code: [u8; 2]) -> Result<(), Option<&'static str>> {
    if GIVEN.split_ascii_whitespace().any(|given| given.as_bytes() == code) {
        return Ok(());
    }
    Err(MEANT.iter().find(|(written, _)| written.as_bytes() == code).map(|(_, meant)| *meant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_codes_of_all_countries() {
        let given: Vec<&str> = GIVEN.split_ascii_whitespace().collect();
        // 249 are given, and Kosovo.
        assert_eq!(given.len(), 250);
        assert!(given.is_sorted_by(|a, b| a < b));
        assert!(
            given
                .iter()
                .all(|code| code.len() == 2 && look_up(code.as_bytes().try_into().unwrap()) == Ok(()))
        );
        assert_eq!(look_up(*b"UK"), Err(Some("GB")));
        assert_eq!(look_up(*b"QQ"), Err(None));
        for (written, meant) in MEANT {
            assert!(!given.contains(&written) && given.contains(&meant), "{written} {meant}");
        }
    }
}
