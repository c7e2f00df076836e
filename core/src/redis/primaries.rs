//! The primaries of a cluster, each asked for itself.
//!
//! The `redis` crate leaves out, without a word, a node to which it has no connection. So who answered is compared
//! with who there must be: together they have every slot.

use std::collections::BTreeMap;

use ::redis::{
    Cmd, ErrorKind, RedisError, RedisResult, Value,
    cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo},
    cmd,
};

use super::topology::Link;

const SLOTS: usize = 16_384;

/// Where in a line of CLUSTER NODES.
const EPOCH: usize = 6;
const SLOTS_FROM: usize = 8;

/// What there is to say of each primary, by its address or name.
pub(super) type Answers = BTreeMap<String, String>;

/// Each primary's name, and the slots it says it has and moves. An error unless every slot has an owner that answered.
pub(super) async fn slots_of_primaries(cluster: Link) -> RedisResult<Answers> {
    let nodes = ask_primaries(&cluster, cmd("CLUSTER").arg("NODES")).await?;
    let slots: Answers = nodes
        .into_iter()
        .filter_map(|(address, nodes)| Some((address, own_slots(&nodes)?)))
        .collect();
    if !have_every_slot(&slots) {
        look_for_owners(&cluster).await;
        return Err(unexpected("a slot has no owner that answers"));
    }
    Ok(slots)
}

/// The history of data that each primary continues. A replica begins a new one when it takes over, and so does a
/// server that starts.
pub(super) async fn histories_of_primaries(cluster: Link) -> RedisResult<Answers> {
    let replications = ask_primaries(&cluster, cmd("INFO").arg("replication")).await?;
    let own = |info: &str| -> String {
        let lines = info.lines().filter(|line| {
            let name = line.split(':').next();
            matches!(name, Some("role" | "master_replid"))
        });
        lines.collect()
    };
    Ok(replications
        .into_iter()
        .map(|(address, info)| (address, own(&info)))
        .collect())
}

/// The greatest epoch in which a primary got its slots, as one node sees it: whoever takes over gets a greater one.
pub(super) async fn newest_epoch(cluster: Link) -> RedisResult<u64> {
    let anyone = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
    let nodes = text(route(&cluster, cmd("CLUSTER").arg("NODES"), anyone).await?);
    let nodes = nodes.ok_or_else(|| unexpected("not a text"))?;
    let with_slots = nodes.lines().map(fields).filter(|fields| fields.len() > SLOTS_FROM);
    let epochs = with_slots.filter_map(|fields| fields[EPOCH].parse().ok());
    Ok(epochs.max().unwrap_or_default())
}

async fn ask_primaries(cluster: &Link, command: &Cmd) -> RedisResult<Answers> {
    let everyone = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
    let Value::Map(answers) = route(cluster, command, everyone).await? else {
        return Err(unexpected("not one answer for each node"));
    };
    let texts = answers
        .into_iter()
        .map(|(address, answer)| Some((text(address)?, text(answer)?)));
    texts.collect::<Option<_>>().ok_or_else(|| unexpected("not a text"))
}

/// Has the `redis` crate ask the cluster who owns which slot, which it does when it is sent to a node that it does not
/// know.
async fn look_for_owners(cluster: &Link) {
    let nobody = SingleNodeRoutingInfo::ByAddress {
        host: "nobody".to_owned(),
        port: 0,
    };
    // It is an error in any case.
    let _ = route(cluster, &cmd("PING"), RoutingInfo::SingleNode(nobody)).await;
}

async fn route(cluster: &Link, command: &Cmd, routing: RoutingInfo) -> RedisResult<Value> {
    match cluster.clone() {
        Link::Cluster(mut cluster) => cluster.route_command(command.clone(), routing).await,
        Link::Single(_) => Err(unexpected("not a cluster")),
    }
}

/// The part of a node's own line in CLUSTER NODES that tells of slots, with its name.
fn own_slots(nodes: &str) -> Option<String> {
    let own = fields(nodes.lines().find(|line| line.contains("myself"))?);
    Some(format!("{} {}", own.first()?, own.get(SLOTS_FROM..)?.join(" ")))
}

/// What a line of CLUSTER NODES says of a node: `id address flags primary ping pong epoch state 0-5460 [93->-id]`.
fn fields(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

fn have_every_slot(primaries: &Answers) -> bool {
    let mut owned = [false; SLOTS];
    for range in primaries.values().flat_map(|own| own.split(' ').skip(1)) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        // What is being moved, `[93->-id]`, is in a range too.
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            owned
                .iter_mut()
                .take(last.saturating_add(1))
                .skip(first)
                .for_each(|slot| *slot = true);
        }
    }
    owned.into_iter().all(|owned| owned)
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        _ => None,
    }
}

fn unexpected(what: &'static str) -> RedisError {
    (ErrorKind::UnexpectedReturnType, what).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn primaries(slots: &[&str]) -> Answers {
        let named = slots.iter().enumerate();
        named
            .map(|(index, slots)| (format!("node{index}"), format!("id {slots}")))
            .collect()
    }

    #[test]
    fn a_primary_that_did_not_answer_leaves_slots_without_an_owner() {
        assert!(have_every_slot(&primaries(&["0-5460", "5461-10922", "10923-16383"])));
        assert!(have_every_slot(&primaries(&["0-99 101-16383 [5->-id]", "100"])));
        assert!(!have_every_slot(&primaries(&["0-5460", "10923-16383"])));
        assert!(!have_every_slot(&primaries(&["0-99 101-16383", "[100-<-id]"])));
        // Two that claim the same slots, and nobody the rest: a takeover not everybody has heard of.
        assert!(!have_every_slot(&primaries(&["0-8191", "0-8191", ""])));
    }
}
