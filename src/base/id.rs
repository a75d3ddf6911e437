//! Small typed numbers for the things that configuration names, and the list that hands them out.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// A number that stands for one named thing of one kind.
pub trait Index: Copy + Eq + Ord + std::hash::Hash + fmt::Debug + 'static {
    /// The most of them there can be.
    const MAX: usize;
    /// From a position in a list. Callers have checked `position < MAX`.
    fn from_position(position: usize) -> Self;
    /// Back to the position.
    fn position(self) -> usize;
}

macro_rules! index {
    ($($(#[$doc:meta])* $name:ident($repr:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(pub $repr);

        impl Index for $name {
            const MAX: usize = <$repr>::MAX as usize;
            fn from_position(position: usize) -> Self {
                debug_assert!(position <= Self::MAX);
                Self(position as $repr)
            }
            fn position(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

index! {
    /// A region.
    RegionId(u16);
    /// A cluster: a stateful system, named once.
    ClusterId(u16);
    /// A group of voters, one per region or one across regions, of some cluster.
    GroupId(u16);
    /// A check of one target in one layer of one region.
    CheckId(u32);
    /// A service: dynamic names and the regions that serve them.
    ServiceId(u32);
    /// A workflow file and its trigger.
    WorkflowId(u16);
}

/// The number of a published table: grows by one with each, and never goes back, not even
/// across restarts.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, serde::Serialize, serde::Deserialize,
)]
pub struct Generation(pub u64);

impl Generation {
    /// The one after this.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Some things of one kind: a bit for each, so that taking in thousands costs next to nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdSet<I> {
    words: Vec<u64>,
    kind: PhantomData<I>,
}

impl<I> Default for IdSet<I> {
    fn default() -> Self {
        Self { words: Vec::new(), kind: PhantomData }
    }
}

impl<I: Index> IdSet<I> {
    /// Takes one in.
    pub fn insert(&mut self, id: I) {
        let word = id.position() / 64;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (id.position() % 64);
    }

    /// Whether this one is in it.
    pub fn contains(&self, id: I) -> bool {
        let word = self.words.get(id.position() / 64);
        word.is_some_and(|word| word >> (id.position() % 64) & 1 == 1)
    }

    /// Takes in all of another set.
    pub fn extend(&mut self, other: &Self) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        self.words.iter_mut().zip(&other.words).for_each(|(mine, theirs)| *mine |= theirs);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = I> + '_ {
        let bits = |word: u64| (0..64).filter(move |bit| word >> bit & 1 == 1);
        let positions = self
            .words
            .iter()
            .enumerate()
            .flat_map(move |(at, word)| bits(*word).map(move |bit| at * 64 + bit));
        positions.map(I::from_position)
    }
}

impl<I: Index> FromIterator<I> for IdSet<I> {
    fn from_iter<T: IntoIterator<Item = I>>(ids: T) -> Self {
        let mut set = Self::default();
        ids.into_iter().for_each(|id| set.insert(id));
        set
    }
}

/// Things of one kind in the order of the file, found by id or by name.
#[derive(Clone)]
pub struct Named<I, T> {
    items: Vec<T>,
    /// Shared by all that is told about the same things.
    names: Arc<Names<I>>,
}

#[derive(Clone)]
struct Names<I> {
    by_id: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, I>,
}

impl<I, T> Default for Named<I, T> {
    fn default() -> Self {
        Self { items: Vec::new(), names: Arc::new(Names { by_id: Vec::new(), ids: HashMap::new() }) }
    }
}

impl<I: Index, T> Named<I, T> {
    /// Adds one and tells its id, or hands it back when the name is taken or the ids are used up.
    pub fn push(&mut self, name: &str, item: T) -> Result<I, T> {
        if self.names.ids.contains_key(name) || self.items.len() >= I::MAX {
            return Err(item);
        }
        let id = I::from_position(self.items.len());
        let name: Arc<str> = name.into();
        let names = Arc::make_mut(&mut self.names);
        names.ids.insert(Arc::clone(&name), id);
        names.by_id.push(name);
        self.items.push(item);
        Ok(id)
    }

    /// The id that goes with a name.
    pub fn id(&self, name: &str) -> Option<I> {
        self.names.ids.get(name).copied()
    }

    /// The name that goes with an id.
    pub fn name(&self, id: I) -> &Arc<str> {
        &self.names.by_id[id.position()]
    }

    /// The thing itself, by name.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.id(name).map(|id| &self[id])
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// All ids, in order.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = I> + DoubleEndedIterator + use<I, T> {
        (0..self.items.len()).map(I::from_position)
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.by_id.iter().map(|name| &**name)
    }

    /// Ids with their things, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (I, &T)> {
        self.items.iter().enumerate().map(|(position, item)| (I::from_position(position), item))
    }

    /// Ids with their things, to be changed.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (I, &mut T)> {
        self.items.iter_mut().enumerate().map(|(position, item)| (I::from_position(position), item))
    }

    /// The things, in order.
    pub fn values(&self) -> std::slice::Iter<'_, T> {
        self.items.iter()
    }

    /// The same names, each with something made from its thing.
    pub fn map<U>(&self, mut make: impl FnMut(I, &T) -> U) -> Named<I, U> {
        Named {
            items: self.iter().map(|(id, item)| make(id, item)).collect(),
            names: Arc::clone(&self.names),
        }
    }
}

impl<I: Index, T> std::ops::Index<I> for Named<I, T> {
    type Output = T;
    fn index(&self, id: I) -> &T {
        &self.items[id.position()]
    }
}

impl<I: Index, T> std::ops::IndexMut<I> for Named<I, T> {
    fn index_mut(&mut self, id: I) -> &mut T {
        &mut self.items[id.position()]
    }
}

impl<I: Index, T: fmt::Debug> fmt::Debug for Named<I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.names.by_id.iter().zip(&self.items)).finish()
    }
}
