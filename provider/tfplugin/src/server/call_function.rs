//! `GetFunctions` and `CallFunction`.

use std::collections::HashMap;

use berth_proto::tfplugin6::{self as wire, call_function};

use super::{
    Server,
    convert::{decode, encode},
    guard::guard_now,
};
use crate::{diagnostics::Diagnostics, function::FunctionError, provider::Provider, value::Value};

impl<P: Provider> Server<P> {
    pub(super) fn functions(&self) -> HashMap<String, wire::Function> {
        let all = self.kinds.functions.iter();
        all.map(|(name, function)| ((*name).to_owned(), function.signature().to_wire())).collect()
    }

    pub(super) fn call_function(&self, request: &call_function::Request) -> call_function::Response {
        match self.try_call(request) {
            Ok(result) => call_function::Response { result: encode(&result), error: None },
            Err(FunctionError { text, argument }) => call_function::Response {
                result: None,
                error: Some(wire::FunctionError {
                    text,
                    function_argument: argument.and_then(|at| i64::try_from(at).ok()),
                }),
            },
        }
    }

    fn try_call(&self, request: &call_function::Request) -> Result<Value, FunctionError> {
        let function = self.kinds.functions.get(request.name.as_str());
        let function =
            function.ok_or_else(|| FunctionError::new(format!("There is no function {}.", request.name)))?;
        let arguments = request.arguments.iter().enumerate().map(|(at, argument)| {
            let parameter = function.signature().at(at);
            let parameter =
                parameter.ok_or_else(|| FunctionError::new("There are too many arguments.").at(at))?;
            decode(Some(argument), &parameter.ty).map_err(|told| failed(&told).at(at))
        });
        let arguments: Vec<Value> = arguments.collect::<Result<_, _>>()?;
        guard_now(|| Ok(function.call(arguments))).unwrap_or_else(|told| Err(failed(&told)))
    }
}

fn failed(told: &Diagnostics) -> FunctionError {
    FunctionError::new(told.to_string())
}
