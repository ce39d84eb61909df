//! Labels of series: validation of what is pushed, and what the server adds.
//! Source: protocol/spec (push); Pyroscope's series rules.

use crate::error::DecodeError;
use crate::hash;
use crate::limits::Limits;

/// (name, value), sorted by name, names unique.
pub type Labels = Vec<(String, String)>;

pub const NAME: &str = "__name__";
pub const SERVICE_NAME: &str = "service_name";
const SESSION_ID: &str = "__session_id__";
const UNKNOWN_SERVICE: &str = "unknown_service";

/// Labels that only the server sets; a pushed one of the same name is dropped.
const DERIVED: [&str; 6] =
    ["__profile_type__", "__type__", "__unit__", "__period_type__", "__period_unit__", "__service_name__"];

/// A series of one profile: a label set and one sample type.
#[derive(Debug)]
pub struct Series {
    pub fingerprint: i64,
    pub service: String,
    pub profile_type: String,
    pub labels: Labels,
}

/// A sample type or period type with its unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValueType {
    pub name: String,
    pub unit: String,
}

/// Validates the pushed labels of one series; returns them sorted, with a service name, without derived ones.
pub fn pushed(mut labels: Labels, limits: &Limits) -> Result<Labels, DecodeError> {
    for (name, value) in &labels {
        check_size(name, value, limits)?;
    }
    labels.retain(|(name, value)| !value.is_empty() && name != SESSION_ID && !DERIVED.contains(&name.as_str()));
    labels.sort_unstable();
    if let Some((first, _)) = labels.iter().zip(labels.iter().skip(1)).find(|(a, b)| a.0 == b.0) {
        return Err(DecodeError::invalid(format!("label {:?} is there twice; send each label name once", first.0)));
    }
    if find(&labels, SERVICE_NAME).is_none() {
        insert(&mut labels, SERVICE_NAME, UNKNOWN_SERVICE.to_owned());
    }
    check_count(&labels, limits)?;
    check_name(find(&labels, NAME))?;
    Ok(labels)
}

/// Adds the labels of a sample to those of its series. The sample's win, but never over `__x__` and `service_name`;
/// of two with one name the first counts.
pub fn with_sample_labels(
    series: &Labels,
    sample: impl Iterator<Item = (String, String)>,
    limits: &Limits,
) -> Result<Labels, DecodeError> {
    let mut own = Labels::new();
    for (name, value) in sample {
        if name.starts_with("__") || name == SERVICE_NAME || own.iter().any(|(taken, _)| *taken == name) {
            continue;
        }
        check_size(&name, &value, limits)?;
        own.push((name, value));
    }
    let mut labels = series.clone();
    for (name, value) in own {
        insert(&mut labels, &name, value);
    }
    check_count(&labels, limits)?;
    Ok(labels)
}

/// Makes the series of one label set and one sample type, with the labels that the server adds.
pub fn series(labels: &Labels, sample: &ValueType, period: &ValueType) -> Series {
    let service = find(labels, SERVICE_NAME).unwrap_or(UNKNOWN_SERVICE).to_owned();
    let family = find(labels, NAME).unwrap_or_default();
    let profile_type = [family, &sample.name, &sample.unit, &period.name, &period.unit].join(":");
    let mut all = labels.clone();
    let values = [&profile_type, &sample.name, &sample.unit, &period.name, &period.unit, &service];
    for (name, value) in DERIVED.iter().zip(values) {
        if !value.is_empty() {
            insert(&mut all, name, value.clone());
        }
    }
    let hash = hash::of_labels(all.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    Series { fingerprint: hash::fingerprint(&service, &profile_type, hash), service, profile_type, labels: all }
}

fn find<'a>(labels: &'a Labels, name: &str) -> Option<&'a str> {
    let place = labels.binary_search_by(|(other, _)| other.as_str().cmp(name)).ok()?;
    labels.get(place).map(|(_, value)| value.as_str())
}

fn insert(labels: &mut Labels, name: &str, value: String) {
    match labels.binary_search_by(|(other, _)| other.as_str().cmp(name)) {
        Ok(place) => {
            if let Some(label) = labels.get_mut(place) {
                label.1 = value;
            }
        }
        Err(place) => labels.insert(place, (name.to_owned(), value)),
    }
}

fn check_size(name: &str, value: &str, limits: &Limits) -> Result<(), DecodeError> {
    if name.is_empty() {
        return Err(DecodeError::invalid(format!("the label with value {value:?} has no name; give it one")));
    }
    if name.len() > limits.max_label_name_bytes {
        let start: String = name.chars().take(40).collect();
        return Err(DecodeError::invalid(format!(
            "label name {start:?}... has {} bytes, the limit is {}; shorten it",
            name.len(),
            limits.max_label_name_bytes
        )));
    }
    if value.len() > limits.max_label_value_bytes {
        return Err(DecodeError::invalid(format!(
            "the value of label {name:?} has {} bytes, the limit is {}; shorten it",
            value.len(),
            limits.max_label_value_bytes
        )));
    }
    Ok(())
}

fn check_count(labels: &Labels, limits: &Limits) -> Result<(), DecodeError> {
    if labels.len() > limits.max_label_names {
        return Err(DecodeError::invalid(format!(
            "a series has {} labels, the limit is {}; send fewer tags",
            labels.len(),
            limits.max_label_names
        )));
    }
    Ok(())
}

fn check_name(name: Option<&str>) -> Result<(), DecodeError> {
    let Some(name) = name else {
        return Err(DecodeError::invalid(
            "label __name__ is missing; set it to the profile's family, as \"process_cpu\"",
        ));
    };
    let valid = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|other| other.is_ascii_alphanumeric() || matches!(other, '_' | '.' | '-'));
    if valid {
        return Ok(());
    }
    Err(DecodeError::invalid(format!(
        "label __name__ {name:?} is not a profile family; use letters, digits, '_', '.' and '-', as \"process_cpu\""
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn refusal(pairs: &[(&str, &str)]) -> String {
        pushed(labels(pairs), &Limits::default()).unwrap_err().message
    }

    #[test]
    fn pushed_labels_are_sorted_and_get_a_service_name() {
        let got = pushed(labels(&[("z", "1"), ("__name__", "process_cpu"), ("ünï.code", "é")]), &Limits::default());
        let want = [("__name__", "process_cpu"), ("service_name", "unknown_service"), ("z", "1"), ("ünï.code", "é")];
        assert_eq!(got.unwrap(), labels(&want));
    }

    #[test]
    fn session_ids_derived_and_empty_labels_are_dropped() {
        let given = [("__name__", "a"), ("__session_id__", "x"), ("__type__", "y"), ("empty", ""), ("__delta__", "no")];
        let got = pushed(labels(&given), &Limits::default()).unwrap();
        assert_eq!(got, labels(&[("__delta__", "no"), ("__name__", "a"), ("service_name", "unknown_service")]));
    }

    #[test]
    fn wrong_labels_are_refused_with_what_to_do() {
        assert!(refusal(&[("service_name", "x")]).contains("__name__ is missing"));
        for name in ["a:b", "9", "a b", "é"] {
            assert!(refusal(&[("__name__", name)]).contains("not a profile family"), "{name}");
        }
        assert!(refusal(&[("__name__", "a"), ("x", "1"), ("x", "2")]).contains("twice"));
        assert!(refusal(&[("__name__", "a"), ("", "1")]).contains("has no name"));
        assert!(refusal(&[("__name__", "a"), (&"n".repeat(1025), "1")]).contains("1025 bytes"));
        assert!(refusal(&[("__name__", "a"), ("n", &"v".repeat(2049))]).contains("2049 bytes"));
        let many: Vec<String> = (0..29).map(|number| format!("n{number}")).collect();
        let mut pairs: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "1")).collect();
        pairs.push(("__name__", "a"));
        assert!(refusal(&pairs).contains("31 labels"));
    }

    #[test]
    fn sample_labels_win_but_not_over_private_ones_and_the_service() {
        let base = labels(&[("__name__", "a"), ("region", "pushed"), ("service_name", "shop")]);
        let own =
            labels(&[("region", "own"), ("region", "late"), ("__name__", "b"), ("service_name", "c"), ("new", "1")]);
        let got = with_sample_labels(&base, own.into_iter(), &Limits::default()).unwrap();
        let want = [("__name__", "a"), ("new", "1"), ("region", "own"), ("service_name", "shop")];
        assert_eq!(got, labels(&want));
    }

    #[test]
    fn a_series_carries_its_profile_type() {
        let cpu = ValueType { name: "cpu".into(), unit: "nanoseconds".into() };
        let got = series(&labels(&[("__name__", "process_cpu"), ("service_name", "shop")]), &cpu, &cpu);
        assert_eq!(got.profile_type, "process_cpu:cpu:nanoseconds:cpu:nanoseconds");
        assert_eq!(find(&got.labels, "__profile_type__"), Some(got.profile_type.as_str()));
        assert_eq!(find(&got.labels, "__service_name__"), Some("shop"));
        assert!(got.labels.is_sorted());
        assert_eq!(got.labels.len(), 8);
    }
}
