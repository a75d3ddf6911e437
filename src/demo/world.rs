//! What the daemon watches and acts on: two regions, each with a web server, a store of three
//! members and one node of a database. Stores and database are stand-ins, or the real thing.

use std::sync::Arc;

use super::directory::Directory;
use super::files::{self, Places};
use super::real::{self, Tools};
use super::shop::Shop;
use super::standin;

/// A region of the story.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Region {
    /// Where everything is in the beginning, and again in the end.
    EuWest = 0,
    /// Where it goes meanwhile.
    UsEast = 1,
}

/// Both.
pub const REGIONS: [Region; 2] = [Region::EuWest, Region::UsEast];

impl Region {
    /// As the configuration calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::EuWest => "eu-west",
            Self::UsEast => "us-east",
        }
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::EuWest => Self::UsEast,
            Self::UsEast => Self::EuWest,
        }
    }
}

/// The store of one region.
#[derive(Debug)]
pub enum Store {
    /// In this process.
    StandIn(standin::Etcd),
    /// etcd, and the directory that it is started again in.
    Real(real::Etcd, Arc<Directory>),
}

impl Store {
    /// Base URLs of its members.
    pub fn endpoints(&self) -> Vec<String> {
        match self {
            Self::StandIn(etcd) => etcd.endpoints(),
            Self::Real(etcd, _) => etcd.endpoints(),
        }
    }

    /// Kills a member: its port refuses connections from now on.
    pub fn kill(&mut self, member: usize) {
        match self {
            Self::StandIn(etcd) => etcd.kill(member),
            Self::Real(etcd, _) => etcd.kill(member),
        }
    }

    /// Brings a member back.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn revive(&mut self, member: usize) -> Result<(), String> {
        match self {
            Self::StandIn(etcd) => etcd.revive(member).await.map_err(|why| why.to_string()),
            Self::Real(etcd, directory) => etcd.start_member(member, directory),
        }
    }
}

/// A database of two nodes, of which one takes writes.
#[derive(Debug)]
pub enum Database {
    /// In this process.
    StandIn(standin::Pair),
    /// PostgreSQL.
    Real(Box<real::Servers>),
}

impl Database {
    /// A client's write at a region's node; whether it was taken.
    pub async fn write(&self, region: Region, number: i64) -> bool {
        match self {
            Self::StandIn(pair) => pair.write(region.name()),
            Self::Real(servers) => servers.write(region, number).await,
        }
    }

    /// What a person must do before a region's node, once it was fenced, can be promoted again.
    pub fn way_back(&self) -> Option<&'static str> {
        match self {
            Self::StandIn(_) => None,
            Self::Real(_) => {
                Some("a person rewinds the old primary in eu-west (pg_rewind), to be a standby again")
            }
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// It fails.
    pub async fn go_back(&self, region: Region) -> Result<(), String> {
        match self {
            Self::StandIn(_) => Ok(()),
            Self::Real(servers) => servers.rewind(region).await,
        }
    }

    /// How often a node was promoted, as the writer tells.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn promotions(&self, writer: Region) -> Result<u64, String> {
        match self {
            Self::StandIn(pair) => Ok(pair.promotions()),
            Self::Real(servers) => servers.promotions(writer).await,
        }
    }

    /// How many of these writes a region's node has; the stand-in keeps none.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn holds(&self, region: Region, numbers: &[i64]) -> Result<Option<u64>, String> {
        match self {
            Self::StandIn(_) => Ok(None),
            Self::Real(servers) => servers.holds(region, numbers).await.map(Some),
        }
    }

    fn place(&self) -> files::Database {
        match self {
            Self::StandIn(pair) => files::Database::Pair(pair.address()),
            Self::Real(servers) => {
                files::Database::Postgres { ports: servers.ports(), password: servers.password_file() }
            }
        }
    }
}

/// All of it. It ends on drop.
#[derive(Debug)]
pub struct World {
    /// The stores, by region.
    pub stores: [Store; 2],
    /// The web servers, by region.
    pub shops: [Shop; 2],
    /// The database.
    pub database: Arc<Database>,
}

impl World {
    /// Starts everything; with the tools for it the real thing.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn start(tools: Option<&Tools>, directory: &Arc<Directory>) -> Result<Self, String> {
        let io = |why: std::io::Error| why.to_string();
        let shops = [Shop::start().await.map_err(io)?, Shop::start().await.map_err(io)?];
        let [west, east] = REGIONS.map(Region::name);
        let Some(tools) = tools else {
            let stores = [standin::Etcd::start().await?, standin::Etcd::start().await?].map(Store::StandIn);
            let pair = standin::Pair::start(west).await.map_err(io)?;
            return Ok(Self { stores, shops, database: Arc::new(Database::StandIn(pair)) });
        };
        let (etcd_west, etcd_east, servers) = tokio::try_join!(
            real::Etcd::start(tools, directory, west),
            real::Etcd::start(tools, directory, east),
            real::Servers::start(tools, directory),
        )?;
        let stores = [etcd_west, etcd_east].map(|etcd| Store::Real(etcd, Arc::clone(directory)));
        Ok(Self { stores, shops, database: Arc::new(Database::Real(Box::new(servers))) })
    }

    /// Where everything listens.
    pub fn places(&self) -> Places {
        Places {
            etcd: [self.stores[0].endpoints(), self.stores[1].endpoints()],
            shops: [self.shops[0].address(), self.shops[1].address()],
            database: self.database.place(),
        }
    }
}
