//! How to get to the i-th instruction of a recorded operation: a breakpoint, and a few single steps from there.

use std::collections::HashMap;

/// What a breakpoint that is hit costs, in single steps.
const HIT: usize = 3;

/// A moment of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The address of the instruction that is next.
    pub(crate) instruction: u64,
    /// The stack pointer. So the same instruction, called from elsewhere, is hardly ever taken for it.
    pub(crate) stack: u64,
}

/// All instructions of one operation, in the order in which they were executed.
#[derive(PartialEq, Eq)]
pub(crate) struct Trace {
    places: Vec<Position>,
    /// How often a breakpoint at the instruction has been hit when this one is reached. 0: it can't have one.
    hits: Vec<usize>,
}

/// The way to one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// Address and hits of the breakpoint to go to first.
    pub(crate) breakpoint: Option<(u64, usize)>,
    /// Then so many single steps,
    pub(crate) steps: usize,
    /// which lead here.
    pub(crate) to: Position,
}

impl Route {
    /// Step by step all the way.
    pub(crate) fn is_by_single_step(self) -> bool {
        self.breakpoint.is_none()
    }
}

impl Trace {
    pub(crate) fn new(places: Vec<Position>) -> Trace {
        let mut seen = HashMap::new();
        let hits = places
            .iter()
            .enumerate()
            .map(|(i, &Position { instruction: at, .. })| {
                // A repeated instruction (`rep movs`) takes many steps and hits its breakpoint once; and where the
                // recording begins nothing is hit.
                let repeats = i == 0 || places[i - 1].instruction == at;
                let count = seen.entry(at).or_insert(0);
                *count += usize::from(i > 0 && !repeats);
                if repeats { 0 } else { *count }
            })
            .collect();
        Trace { places, hits }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Step by step.
    pub(crate) fn by_single_step(&self, point: usize) -> Route {
        Route { breakpoint: None, steps: point, to: self.places[point] }
    }

    /// The cheapest way to the instruction with this index.
    pub(crate) fn to(&self, point: usize) -> Route {
        let by_single_step = (point, None);
        let by_breakpoint = |steps: usize| {
            let at = point - steps;
            (self.hits[at] > 0).then(|| (steps + HIT * self.hits[at], Some((at, self.hits[at]))))
        };
        let mut best = by_single_step;
        for steps in 0..point {
            if steps >= best.0 {
                break;
            }
            best = by_breakpoint(steps).filter(|way| way.0 < best.0).unwrap_or(best);
        }
        match best.1 {
            None => self.by_single_step(point),
            Some((at, hits)) => Route {
                breakpoint: Some((self.places[at].instruction, hits)),
                steps: point - at,
                to: self.places[point],
            },
        }
    }
}

#[test]
fn a_route_leads_to_the_recorded_instruction() {
    // A loop of two instructions, a repeated one, and a way out.
    let mut walked = vec![1];
    walked.extend([2, 3].repeat(50));
    walked.extend([4; 30]);
    walked.extend([5, 6]);
    let place = |instruction| Position { instruction, stack: 0 };
    let path = Trace::new(walked.iter().copied().map(place).collect());
    for point in 0..walked.len() {
        let route = path.to(point);
        let begun = route.breakpoint.map_or(0, |(at, hits)| {
            let entered = |&i: &usize| i > 0 && walked[i] == at && walked[i - 1] != at;
            (0..walked.len()).filter(entered).nth(hits - 1).unwrap()
        });
        assert_eq!((begun + route.steps, route.to), (point, place(walked[point])), "{route:?}");
    }
    assert_eq!(path.to(132), Route { breakpoint: Some((6, 1)), steps: 0, to: place(6) });
}
