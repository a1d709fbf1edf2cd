//! What stands between an algorithm and a closure: the meter, its checks and its outcomes.
//!
//! What stands between an algorithm and a program is measured in `graybox-oracle`'s own benchmark.

use graybox::oracle::{Budget, Dims, FnOracle, Metered, Queries, Rows};

use crate::contest::{Case, Contender};
use crate::joint;

/// This many rows through the meter, against a loop over the same closure.
pub(crate) fn closure(rows: usize) -> Case {
    let (values, _) = joint::rows(rows, 1);
    let wide: Vec<f64> = values.iter().copied().map(f64::from).collect();
    let u: Vec<f64> = wide.iter().step_by(2).map(|x| 0.5 * x).collect();
    let x = Rows::from_vec(2, wide).expect("two numbers a row");
    let u = Rows::from_vec(1, u).expect("one number a row");
    let (bare_x, bare_u) = (x.clone(), u.clone());
    let mut bare_y = vec![0.0; 2 * rows];

    let budget = Budget::new(u64::MAX).expect("at least one call");
    let mut metered = Metered::new(FnOracle::new(Dims::new(2, 1, 2), oracle), budget);
    Case {
        name: format!("closure {rows} rows"),
        ours: Contender::native("graybox", move || {
            let queries = Queries::new(&x, &u).expect("as many contexts as actions");
            let outcomes = metered.evaluate(queries).expect("the budget has no end");
            std::hint::black_box(outcomes);
        }),
        bound: Some(Contender::native("bound", move || {
            let rows = bare_x.iter().zip(bare_u.iter());
            for ((x, u), y) in rows.zip(bare_y.chunks_exact_mut(2)) {
                y.copy_from_slice(&oracle(x, u));
            }
            std::hint::black_box(&bare_y);
        })),
        peers: Vec::new(),
        calls: rows,
    }
}

fn oracle(x: &[f64], u: &[f64]) -> [f64; 2] {
    [x[0] * u[0] + 0.3 * u[0] * u[0], x[1] - u[0]]
}
