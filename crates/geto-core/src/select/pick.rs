//! Several hosts → the order in which they are tried.

use std::cmp::Reverse;

use crate::wire::HostLoad;

/// How a host is chosen among several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pick {
    /// Where the fewest instances of the script's name run relative to the slots, then where the
    /// most slots are idle, then at random.
    #[default]
    Balanced,
    /// At random among those with room.
    Random,
    /// The first with room, in the order in which they are named.
    First,
}

/// Puts hosts, given with their loads in the order in which they are named, into the order in which
/// they are to be tried: those with room first. `random` gives each a number.
pub fn rank<T>(
    pick: Pick,
    hosts: &mut Vec<T>,
    load: impl Fn(&T) -> (HostLoad, bool),
    mut random: impl FnMut() -> u64,
) {
    let mut keyed: Vec<_> = std::mem::take(hosts)
        .into_iter()
        .enumerate()
        .map(|(index, host)| {
            let (load, has_room) = load(&host);
            // Ratios of small numbers, exact: named / slots.
            let share = u64::from(load.named) * 1_000_000 / u64::from(load.slots.max(1));
            let idle = load.slots.saturating_sub(load.taken).saturating_sub(load.waiting);
            let key = match pick {
                Pick::Balanced => (!has_room, share, Reverse(idle), random()),
                Pick::Random => (!has_room, 0, Reverse(0), random()),
                Pick::First => (!has_room, 0, Reverse(0), index as u64),
            };
            (key, host)
        })
        .collect();
    keyed.sort_by_key(|(key, _)| *key);
    hosts.extend(keyed.into_iter().map(|(_, host)| host));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(slots: u32, taken: u32, named: u32) -> HostLoad {
        HostLoad { slots, taken, named, ..HostLoad::default() }
    }

    fn ranked(pick: Pick, loads: &[HostLoad], random: &[u64]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..loads.len()).collect();
        let mut random = random.iter().copied();
        rank(
            pick,
            &mut order,
            |&index| (loads[index], loads[index].taken < loads[index].slots),
            || random.next().unwrap(),
        );
        order
    }

    #[test]
    fn balanced_looks_at_the_name_then_at_idle_slots_then_at_chance() {
        let named = [load(8, 4, 4), load(4, 1, 1), load(2, 1, 1)];
        assert_eq!(ranked(Pick::Balanced, &named, &[0, 0, 0]), [1, 0, 2]);
        let idle = [load(8, 6, 0), load(8, 2, 0), load(4, 0, 0)];
        assert_eq!(ranked(Pick::Balanced, &idle, &[0, 0, 0]), [1, 2, 0]);
        let same = [load(4, 0, 0), load(4, 0, 0), load(4, 0, 0)];
        assert_eq!(ranked(Pick::Balanced, &same, &[7, 9, 3]), [2, 0, 1]);
    }

    #[test]
    fn a_full_host_comes_last_whatever_is_picked() {
        let loads = [load(2, 2, 0), load(2, 1, 1)];
        for pick in [Pick::Balanced, Pick::Random, Pick::First] {
            assert_eq!(ranked(pick, &loads, &[1, 2]), [1, 0], "{pick:?}");
        }
    }

    #[test]
    fn first_keeps_the_order_and_random_does_not() {
        let loads = [load(2, 0, 0), load(9, 0, 0), load(2, 1, 1)];
        assert_eq!(ranked(Pick::First, &loads, &[3, 2, 1]), [0, 1, 2]);
        assert_eq!(ranked(Pick::Random, &loads, &[3, 2, 1]), [2, 1, 0]);
    }
}
