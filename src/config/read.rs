//! A tree of YAML → a type, or every mistake at once.
//!
//! Types say their shape with serde's derive. Serde stops at the first value that does not
//! fit, so reading goes in rounds: the value is noted as a mistake and cut out of the tree,
//! and the rest is read again, until what is left fits. A key that is missing only because
//! it was cut out is not a mistake of its own.

use std::cell::RefCell;
use std::fmt;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Expected, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::yaml::{Key, Node, Value};
use crate::base::{Mistakes, Place, nearest};

/// More rounds than this, and the file is not what it claims to be.
const ROUNDS_MAX: usize = 60;

/// Reads a type from a tree. `None` if nothing usable is left of it.
pub fn read<T: DeserializeOwned>(node: &Node, mistakes: &mut Mistakes) -> Option<T> {
    let mut tree = node.clone();
    let mut cut: Vec<Place> = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let mut fault = match T::deserialize(At { node: &tree }) {
            Ok(value) => return Some(value),
            Err(fault) => fault,
        };
        let place = fault.place.clone().unwrap_or_else(|| tree.place.clone());
        // Missing because it was cut out in an earlier round: already told.
        let told = fault.missing && cut.contains(&place);
        if !told {
            mistakes.error(&place, fault.message).maybe_help(fault.help.take());
        }
        fault.path.reverse();
        let parent = cut_out(&mut tree, &fault.path)?;
        cut.push(parent);
    }
    mistakes.error(&node.place, "too many mistakes; the rest of this part was not read");
    None
}

/// Cuts a value out of the tree and tells the place of what held it. `None` if it is the root.
fn cut_out(tree: &mut Node, path: &[Step]) -> Option<Place> {
    let (last, way) = path.split_last()?;
    let mut at = tree;
    for step in way {
        at = match (step, &mut at.value) {
            (Step::Key(position), Value::Map(entries)) => &mut entries.get_mut(*position)?.1,
            (Step::Item(position), Value::List(items)) => items.get_mut(*position)?,
            _ => return None,
        };
    }
    let place = at.place.clone();
    match (last, &mut at.value) {
        (Step::Key(position), Value::Map(entries)) if *position < entries.len() => {
            drop(entries.remove(*position))
        }
        (Step::Item(position), Value::List(items)) if *position < items.len() => {
            drop(items.remove(*position))
        }
        _ => return None,
    }
    Some(place)
}

/// A value together with its place, for mistakes that only show when the parts are put
/// together. Transparent in the file.
#[derive(Clone, Debug)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

impl<T> std::ops::Deref for Placed<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// A mapping from names to things of one kind, in the order of the file.
#[derive(Clone, Debug)]
pub struct Entries<T>(pub Vec<(Placed<String>, T)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Entries<T> {
    /// Names and things, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, (Placed<String>, T)> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Two shapes that share one mapping: what all things of a kind have, and what this one has.
/// Each takes the keys that it knows; a key that neither knows is a mistake.
#[derive(Clone, Debug)]
pub struct Beside<S, T> {
    /// What all things of the kind have.
    pub shared: S,
    /// What this one has besides.
    pub own: T,
}

// ── faults ──

/// One step from a value to something inside it.
#[derive(Clone, Copy, Debug)]
enum Step {
    Key(usize),
    Item(usize),
}

/// Why a value did not fit. Gathers its path on the way out.
#[derive(Debug)]
struct Fault {
    message: String,
    help: Option<String>,
    place: Option<Place>,
    path: Vec<Step>,
    missing: bool,
}

impl Fault {
    fn new(message: String) -> Self {
        Self { message, help: None, place: None, path: Vec::new(), missing: false }
    }

    fn inside(mut self, step: Step, place: &Place) -> Self {
        self.path.push(step);
        self.at(place)
    }

    fn at(mut self, place: &Place) -> Self {
        self.place.get_or_insert_with(|| place.clone());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

fn choices(expected: &[&str]) -> String {
    expected.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn suggestion(written: &str, expected: &[&str]) -> String {
    match nearest(written, expected.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("one of {}", choices(expected)),
    }
}

fn unknown_key(key: &str, expected: &[&str]) -> Fault {
    let mut fault = Fault::new(format!("unknown key `{key}`"));
    fault.help = Some(suggestion(key, expected));
    fault
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
            Unexpected::Map | Unexpected::StructVariant => "a mapping".to_owned(),
            Unexpected::Seq | Unexpected::TupleVariant => "a list".to_owned(),
            Unexpected::Str(text) => format!("the text `{text}`"),
            Unexpected::Unsigned(number) => format!("the number {number}"),
            Unexpected::Signed(number) => format!("the number {number}"),
            Unexpected::Float(number) => format!("the number {number}"),
            Unexpected::Bool(value) => format!("`{value}`"),
            other => other.to_string(),
        };
        Self::new(format!("expected {expected}, found {found}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        unknown_key(field, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let mut fault = Self::new(format!("unknown kind `{variant}`"));
        fault.help = Some(suggestion(variant, expected));
        fault
    }

    fn missing_field(field: &'static str) -> Self {
        let mut fault = Self::new(format!("`{field}` is missing"));
        fault.missing = true;
        fault
    }
}

// ── the way from tree to type ──

thread_local! {
    /// How [`Placed`] and [`Node`] get past serde, which knows neither: the reader puts the
    /// node here right before their `Deserialize` picks it up.
    static HANDED: RefCell<Option<Node>> = const { RefCell::new(None) };
}

const PLACED: &str = "$pointsman::Placed";
const NODE: &str = "$pointsman::Node";
const BESIDE: &str = "$pointsman::Beside";

#[derive(Clone, Copy)]
struct At<'a> {
    node: &'a Node,
}

impl<'de> Deserializer<'de> for At<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let place = &self.node.place;
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => match u64::try_from(*value) {
                Ok(value) => visitor.visit_u64(value),
                Err(_) => visitor.visit_i64(*value),
            },
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(text) => visitor.visit_str(text),
            Value::List(items) => visitor.visit_seq(Items { items, position: 0 }),
            Value::Map(entries) => visitor.visit_map(Pairs { entries, position: 0, pass: &|_| true }),
        }
        .map_err(|fault| fault.at(place))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    /// A mapping that is left empty (`checks:` and nothing after it) is an empty mapping.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node.value {
            Value::Null => visitor.visit_map(Pairs { entries: &[], position: 0, pass: &|_| true }),
            _ => self.deserialize_any(visitor),
        }
        .map_err(|fault| fault.at(&self.node.place))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node.value {
            Value::Null => visitor.visit_seq(Items { items: &[], position: 0 }),
            _ => self.deserialize_any(visitor),
        }
        .map_err(|fault| fault.at(&self.node.place))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name == PLACED || name == NODE {
            HANDED.set(Some(if name == NODE {
                self.node.clone()
            } else {
                Node { place: self.node.place.clone(), value: Value::Null }
            }));
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let place = &self.node.place;
        match &self.node.value {
            Value::Text(variant) => visitor
                .visit_enum(Variant { name: variant, place, body: None })
                .map_err(|fault| fault.at(place)),
            Value::Map(entries) => match entries.as_slice() {
                [(key, body)] => {
                    visitor.visit_enum(Variant { name: &key.text, place: &key.place, body: Some(body) })
                }
                _ => {
                    let mut fault =
                        Fault::new(format!("expected exactly one kind, found {} keys", entries.len()));
                    fault.help = Some(format!("one of {}", choices(variants)));
                    fault.missing = entries.is_empty();
                    Err(fault.at(place))
                }
            },
            other => {
                let mut fault = Fault::new(format!("expected a kind, found {}", other.kind()));
                fault.help = Some(format!("one of {}", choices(variants)));
                Err(fault.at(place))
            }
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match name {
            BESIDE => visitor.visit_seq(Halves { node: self.node, shared: None }),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct
        tuple identifier ignored_any
    }
}

/// Hands the same mapping out twice: first to what is shared, then to what is one thing's own.
struct Halves<'a> {
    node: &'a Node,
    /// The keys that the first has taken.
    shared: Option<&'static [&'static str]>,
}

impl<'de> SeqAccess<'de> for Halves<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let taken = self.shared;
        seed.deserialize(Half { node: self.node, taken, fields: &mut self.shared }).map(Some)
    }
}

struct Half<'a> {
    node: &'a Node,
    taken: Option<&'static [&'static str]>,
    fields: &'a mut Option<&'static [&'static str]>,
}

impl<'de> Deserializer<'de> for Half<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        At { node: self.node }.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let place = &self.node.place;
        *self.fields = Some(fields);
        let entries = match &self.node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            _ => return At { node: self.node }.deserialize_any(visitor),
        };
        let Some(taken) = self.taken else {
            let pass = |key: &str| fields.contains(&key);
            return visitor
                .visit_map(Pairs { entries, position: 0, pass: &pass })
                .map_err(|fault| fault.at(place));
        };
        let stranger = |(_, (key, _)): &(usize, &(Key, Node))| {
            !fields.contains(&&*key.text) && !taken.contains(&&*key.text)
        };
        if let Some((position, (key, _))) = entries.iter().enumerate().find(stranger) {
            let fault = unknown_key(&key.text, &[fields, taken].concat());
            return Err(fault.inside(Step::Key(position), &key.place));
        }
        let pass = |key: &str| !taken.contains(&key);
        visitor.visit_map(Pairs { entries, position: 0, pass: &pass }).map_err(|fault| fault.at(place))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct
        option newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Items<'a> {
    items: &'a [Node],
    position: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(node) = self.items.get(self.position) else { return Ok(None) };
        let step = Step::Item(self.position);
        self.position += 1;
        seed.deserialize(At { node }).map(Some).map_err(|fault| fault.inside(step, &node.place))
    }
}

struct Pairs<'a> {
    entries: &'a [(Key, Node)],
    position: usize,
    /// Keys that are shown.
    pass: &'a dyn Fn(&str) -> bool,
}

impl<'de> MapAccess<'de> for Pairs<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let rest = self.entries.iter().skip(self.position);
        self.position += rest.take_while(|(key, _)| !(self.pass)(&key.text)).count();
        let Some((key, _)) = self.entries.get(self.position) else { return Ok(None) };
        let node = Node { place: key.place.clone(), value: Value::Text(key.text.clone()) };
        seed.deserialize(At { node: &node })
            .map(Some)
            .map_err(|fault| fault.inside(Step::Key(self.position), &key.place))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let (_, node) = &self.entries[self.position];
        let step = Step::Key(self.position);
        self.position += 1;
        seed.deserialize(At { node }).map_err(|fault| fault.inside(step, &node.place))
    }
}

/// `kind` alone, or `kind: body`.
struct Variant<'a> {
    name: &'a str,
    place: &'a Place,
    body: Option<&'a Node>,
}

impl<'a, 'de> EnumAccess<'de> for Variant<'a> {
    type Error = Fault;
    type Variant = Body<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Body<'a>), Fault> {
        let node = Node { place: self.place.clone(), value: Value::Text(self.name.to_owned()) };
        let kind = seed.deserialize(At { node: &node }).map_err(|fault| fault.at(self.place))?;
        Ok((kind, Body { kind: self.name.to_owned(), place: self.place.clone(), body: self.body }))
    }
}

struct Body<'a> {
    kind: String,
    place: Place,
    body: Option<&'a Node>,
}

impl Body<'_> {
    fn node(&self) -> Result<&Node, Fault> {
        self.body
            .ok_or_else(|| Fault::new(format!("`{}` needs settings of its own", self.kind)).at(&self.place))
    }
}

impl<'de> VariantAccess<'de> for Body<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.body {
            None | Some(Node { value: Value::Null, .. }) => Ok(()),
            Some(body) => Err(Fault::new(format!("`{}` takes no settings", self.kind)).at(&body.place)),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        let node = self.node()?;
        seed.deserialize(At { node }).map_err(|fault| fault.inside(Step::Key(0), &node.place))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Fault> {
        let node = self.node()?;
        At { node }.deserialize_seq(visitor).map_err(|fault| fault.inside(Step::Key(0), &node.place))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let node = self.node()?;
        At { node }.deserialize_map(visitor).map_err(|fault| fault.inside(Step::Key(0), &node.place))
    }
}

// ── Placed, Node and Entries as serde sees them ──

impl<'de, T: de::Deserialize<'de>> de::Deserialize<'de> for Placed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Inner<T>(std::marker::PhantomData<T>);
        impl<'de, T: de::Deserialize<'de>> Visitor<'de> for Inner<T> {
            type Value = Placed<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<Placed<T>, D::Error> {
                let place = handed::<D::Error>()?.place;
                Ok(Placed { value: T::deserialize(deserializer)?, place })
            }
        }
        deserializer.deserialize_newtype_struct(PLACED, Inner(std::marker::PhantomData))
    }
}

impl<'de> de::Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;
        impl<'de> Visitor<'de> for Whole {
            type Value = Node;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_newtype_struct<D: Deserializer<'de>>(self, _: D) -> Result<Node, D::Error> {
                handed()
            }
        }
        deserializer.deserialize_newtype_struct(NODE, Whole)
    }
}

fn handed<E: de::Error>() -> Result<Node, E> {
    HANDED.take().ok_or_else(|| E::custom("places are only known to the configuration reader"))
}

impl<'de, T: de::Deserialize<'de>> de::Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each<T>(std::marker::PhantomData<T>);
        impl<'de, T: de::Deserialize<'de>> Visitor<'de> for Each<T> {
            type Value = Entries<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping from names")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Entries<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = access.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Each(std::marker::PhantomData))
    }
}

impl<'de, S: de::Deserialize<'de>, T: de::Deserialize<'de>> de::Deserialize<'de> for Beside<S, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Both<S, T>(std::marker::PhantomData<(S, T)>);
        impl<'de, S: de::Deserialize<'de>, T: de::Deserialize<'de>> Visitor<'de> for Both<S, T> {
            type Value = Beside<S, T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut halves: A) -> Result<Beside<S, T>, A::Error> {
                let lone = || de::Error::custom("halves are only known to the configuration reader");
                let shared = halves.next_element()?.ok_or_else(lone)?;
                let own = halves.next_element()?.ok_or_else(lone)?;
                Ok(Beside { shared, own })
            }
        }
        deserializer.deserialize_tuple_struct(BESIDE, 2, Both(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Source;

    #[derive(serde::Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        count: u16,
        #[serde(default)]
        kinds: Vec<Kind>,
        #[serde(default)]
        named: Entries<Inner>,
    }

    #[derive(serde::Deserialize, Debug)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Plain,
        Deep(Inner),
    }

    #[derive(serde::Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        word: Placed<String>,
    }

    fn load(text: &str) -> (Option<Outer>, Vec<String>) {
        let tree = super::super::yaml::parse(&Source::new("f", text)).unwrap();
        let mut mistakes = Mistakes::default();
        let value = read(&tree, &mut mistakes);
        (value, mistakes.sorted().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn reads_what_fits() {
        let (outer, mistakes) =
            load("count: 3\nkinds: [plain, {deep: {word: x}}]\nnamed: {a: {word: y}, b: {word: z}}\n");
        assert_eq!(mistakes, [""; 0]);
        let outer = outer.unwrap();
        assert_eq!(outer.count, 3);
        assert!(matches!(&outer.kinds[0], Kind::Plain));
        assert!(matches!(&outer.kinds[1], Kind::Deep(inner) if inner.word.place.to_string() == "f:2:30"));
        assert_eq!(outer.named.0[1].0.value, "b");
    }

    #[test]
    fn reports_every_mistake_at_once() {
        let (outer, mistakes) = load(
            "count: many\nconut: 3\nkinds: [plian, {deep: {word: 5, worm: 1}}, plain]\nnamed:\n  a: {}\n  b: {word: ok}\n",
        );
        assert!(outer.is_none(), "the count is required and was wrong");
        assert_eq!(
            mistakes,
            [
                "f:1:8: expected u16, found the text `many`",
                "f:2:1: unknown key `conut` (did you mean `count`?)",
                "f:3:9: unknown kind `plian` (did you mean `plain`?)",
                "f:3:30: expected a string, found the number 5",
                "f:3:33: unknown key `worm` (did you mean `word`?)",
                "f:5:6: `word` is missing",
            ]
        );
    }

    #[derive(serde::Deserialize, Debug, Default)]
    #[serde(deny_unknown_fields, default)]
    struct Pace {
        rise: Option<u32>,
        fall: Option<u32>,
    }

    #[test]
    fn two_shapes_share_a_mapping() {
        let load = |text: &str| {
            let tree = super::super::yaml::parse(&Source::new("f", text)).unwrap();
            let mut mistakes = Mistakes::default();
            let value: Option<Beside<Pace, Inner>> = read(&tree, &mut mistakes);
            (value, mistakes.sorted().iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let (value, mistakes) = load("rise: 3\nword: x\n");
        let value = value.unwrap();
        assert_eq!(mistakes, [""; 0]);
        assert_eq!(
            (value.shared.rise, value.shared.fall, value.own.word.value.as_str()),
            (Some(3), None, "x")
        );
        // Each mistake once, at its place, with the keys of both to choose from.
        let (value, mistakes) = load("rice: 1\nfall: x\nword: y\nwort: z\n");
        assert_eq!(value.unwrap().own.word.value, "y");
        assert_eq!(
            mistakes,
            [
                "f:1:1: unknown key `rice` (did you mean `rise`?)",
                "f:2:7: expected u32, found the text `x`",
                "f:4:1: unknown key `wort` (did you mean `word`?)",
            ]
        );
        let (value, mistakes) = load("rise: 3\n");
        assert!(value.is_none());
        assert_eq!(mistakes, ["f:1:1: `word` is missing"]);
    }

    #[test]
    fn what_is_left_is_usable() {
        let (outer, mistakes) = load("count: 1\nkinds: [what, plain]\nnamed: {a: {}, b: {word: ok}}\n");
        let outer = outer.unwrap();
        assert_eq!((outer.kinds.len(), outer.named.0.len(), mistakes.len()), (1, 1, 2));
    }
}
