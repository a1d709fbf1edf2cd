//! Models that are asked for their own gradient.

use graybox_oracle::{
    Budget, Dims, FnOracle, Metered, Model, Oracle, Outcome, Queries, RowError, Rows,
    UmBridgeConfig, UmBridgeOracle, UmBridgeServer,
};

use crate::{anywhere, forward};

/// F(x, u) = (u₁ + 2 u₂, x u₁ u₂) in two outputs, with its gradient with respect to u.
fn smooth() -> Model {
    Model::new("forward", [1, 2], [1, 1], |input: &[Vec<f64>]| {
        let (x, u) = (input[0][0], &input[1]);
        Ok::<_, String>(vec![vec![u[0] + 2.0 * u[1]], vec![x * u[0] * u[1]]])
    })
    .with_gradient(|output, input, values, sens| {
        let (x, u) = (values[0][0], &values[1]);
        if u[0] > 100.0 {
            return Err("no adjoint there".to_string());
        }
        assert_eq!(input, 1, "nobody asks for the context's");
        let row = [[1.0, 2.0], [x * u[1], x * u[0]]][output];
        Ok(row.iter().map(|value| sens[0] * value).collect())
    })
}

/// The same function, which only applies its Jacobian, to an input that is context and action in one.
fn forward_mode() -> Model {
    let split = |input: &[Vec<f64>]| (input[0][0], [input[0][1], input[0][2]]);
    Model::new("forward", [3], [1, 1], move |input: &[Vec<f64>]| {
        let (x, u) = split(input);
        Ok::<_, String>(vec![vec![u[0] + 2.0 * u[1]], vec![x * u[0] * u[1]]])
    })
    .with_jacobian(move |output, input, values, vec| {
        let (x, u) = split(values);
        if u[0] > 100.0 {
            return Err("no tangent there".to_string());
        }
        assert!(input == 0 && vec[0] == 0.0, "nobody asks for the context's");
        let row = [[1.0, 2.0], [x * u[1], x * u[0]]][output];
        Ok(vec![row[0] * vec[1] + row[1] * vec[2]])
    })
}

fn pull_back(oracle: &UmBridgeOracle, u: &[f64], sens: &[f64]) -> Option<Vec<Outcome>> {
    let u = Rows::from_vec(2, u.to_vec()).unwrap();
    let x = Rows::from_vec(1, vec![3.0; u.len()]).unwrap();
    let sens = Rows::from_vec(2, sens.to_vec()).unwrap();
    oracle.pull_back(Queries::new(&x, &u).unwrap(), &sens)
}

#[test]
fn a_model_that_may_be_asked_for_its_gradient_gives_it_row_by_row() {
    // One that only applies its Jacobian is asked for each action.
    let models = [
        (smooth(), "no adjoint there"),
        (forward_mode(), "no tangent there"),
    ];
    for (model, reason) in models {
        let server = UmBridgeServer::start(vec![model], anywhere()).unwrap();
        let config = UmBridgeConfig {
            gradient: true,
            connections: 2,
            d_x: Some(1),
            ..UmBridgeConfig::new([server.url()])
        };
        let oracle = UmBridgeOracle::connect(config).unwrap();
        let u = [5.0, 7.0, 101.0, 0.0, 5.0, 7.0];
        let pulled = pull_back(&oracle, &u, &[10.0, 1.0, 1.0, 0.0, 0.0, 0.0]).unwrap();
        let expected = [
            Ok(vec![10.0 + 21.0, 20.0 + 15.0]),
            Err(RowError::Failed(reason.into())),
            Ok(vec![0.0, 0.0]),
        ];
        assert_eq!(pulled, expected);
    }
}

#[test]
fn a_gradient_is_refused_where_there_is_none_and_kept_back_where_it_is_not_allowed() {
    let server = UmBridgeServer::start(vec![forward()], anywhere()).unwrap();
    let config = UmBridgeConfig {
        gradient: true,
        ..UmBridgeConfig::new([server.url()])
    };
    let error = UmBridgeOracle::connect(config).err().unwrap().to_string();
    assert!(
        error.contains("`forward` offers neither `Gradient` nor"),
        "{error}"
    );

    let server = UmBridgeServer::start(vec![smooth()], anywhere()).unwrap();
    let oracle = UmBridgeOracle::connect(UmBridgeConfig::new([server.url()])).unwrap();
    assert_eq!(pull_back(&oracle, &[5.0, 7.0], &[1.0, 1.0]), None);
}

#[test]
fn calls_of_the_gradient_are_charged_and_a_black_box_has_none() {
    let server = UmBridgeServer::start(vec![smooth()], anywhere()).unwrap();
    let config = UmBridgeConfig {
        gradient: true,
        ..UmBridgeConfig::new([server.url()])
    };
    let oracle = UmBridgeOracle::connect(config).unwrap();
    let (x, u) = (
        Rows::from_vec(1, vec![3.0; 2]).unwrap(),
        Rows::from_vec(2, vec![5.0, 7.0, 101.0, 0.0]).unwrap(),
    );
    let queries = Queries::new(&x, &u).unwrap();
    let sens = Rows::from_vec(2, vec![1.0; 4]).unwrap();
    let mut metered = Metered::new(oracle, Budget::new(3).unwrap());
    assert!(metered.pull_back(queries, &sens).unwrap().is_some());
    assert_eq!((metered.calls(), metered.failed()), (2, 1));
    assert!(metered.pull_back(queries, &sens).is_err());

    let black = FnOracle::new(Dims::new(1, 2, 2), |_, u| [u[0], u[1]]);
    let mut metered = Metered::new(black, Budget::new(3).unwrap());
    assert_eq!(metered.pull_back(queries, &sens).unwrap(), None);
    assert_eq!(metered.calls(), 0);
}
