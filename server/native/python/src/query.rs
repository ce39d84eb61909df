//! Reader and Tree: what queries ask of blocks.

use std::sync::Arc;

use flamewire_core::export;
use flamewire_core::pprof_export::PprofHeader;
use flamewire_core::read::{self, TotalsQuery, TreeQuery};
use flamewire_core::stacks::{MAX_INCLUDES, StackSelector};
use flamewire_core::tree;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::block_error;

/// Which stack traces a query takes.
#[derive(FromPyObject)]
struct Stacks(Vec<String>, Vec<Vec<String>>, Vec<String>);

impl Stacks {
    fn selector(&self) -> PyResult<StackSelector<'_>> {
        if self.1.len() > MAX_INCLUDES {
            return Err(PyValueError::new_err(format!(
                "{} conditions; at most {MAX_INCLUDES} are tested",
                self.1.len()
            )));
        }
        Ok(StackSelector { call_site: &self.0, include: &self.1, exclude: &self.2 })
    }
}

/// Which samples a query takes.
struct Selection {
    series: Vec<i64>,
    start_ns: i64,
    end_ns: i64,
    span_ids: Option<Vec<i64>>,
    profile_ids: Option<Vec<u128>>,
    trace_ids: Option<Vec<u128>>,
    stacks: Option<Stacks>,
}

fn ids(texts: Option<Vec<[u8; 16]>>) -> Option<Vec<u128>> {
    texts.map(|ids| ids.into_iter().map(u128::from_be_bytes).collect())
}

impl Selection {
    fn new(
        series: Vec<i64>,
        start_ns: i64,
        end_ns: i64,
        span_ids: Option<Vec<i64>>,
        profile_ids: Option<Vec<[u8; 16]>>,
        trace_ids: Option<Vec<[u8; 16]>>,
        stacks: Option<Stacks>,
    ) -> PyResult<Self> {
        if let Some(stacks) = &stacks {
            stacks.selector()?;
        }
        Ok(Self {
            series,
            start_ns,
            end_ns,
            span_ids,
            profile_ids: ids(profile_ids),
            trace_ids: ids(trace_ids),
            stacks,
        })
    }
}

impl Selection {
    fn query(&self) -> PyResult<TreeQuery<'_>> {
        Ok(TreeQuery {
            series: &self.series,
            start_ns: self.start_ns,
            end_ns: self.end_ns,
            span_ids: self.span_ids.as_deref(),
            profile_ids: self.profile_ids.as_deref(),
            trace_ids: self.trace_ids.as_deref(),
            stacks: self.stacks.as_ref().map(Stacks::selector).transpose()?,
        })
    }
}

/// Reads blocks.
#[pyclass(frozen, module = "flamewire_server._native")]
pub struct Reader(read::Reader);

type Text = (String, String);

#[pymethods]
impl Reader {
    #[new]
    #[pyo3(signature = (*, max_cached_stacks=8_000_000))]
    fn new(max_cached_stacks: usize) -> Self {
        Self(read::Reader::new(max_cached_stacks))
    }

    #[pyo3(signature = (tenant, sample_files, symbol_files, *, series, start_ns, end_ns, span_ids=None,
        profile_ids=None, trace_ids=None, stacks=None))]
    #[allow(clippy::too_many_arguments)]
    fn tree(
        &self,
        py: Python<'_>,
        tenant: &str,
        sample_files: Vec<String>,
        symbol_files: Vec<String>,
        series: Vec<i64>,
        start_ns: i64,
        end_ns: i64,
        span_ids: Option<Vec<i64>>,
        profile_ids: Option<Vec<[u8; 16]>>,
        trace_ids: Option<Vec<[u8; 16]>>,
        stacks: Option<Stacks>,
    ) -> PyResult<Tree> {
        let selection = Selection::new(series, start_ns, end_ns, span_ids, profile_ids, trace_ids, stacks)?;
        let query = selection.query()?;
        let tree = py.detach(|| self.0.tree(tenant, &sample_files, &symbol_files, &query));
        tree.map(|tree| Tree(Arc::new(tree))).map_err(block_error)
    }

    #[pyo3(signature = (tenant, sample_files, symbol_files, *, series, start_ns, end_ns, sample_type, period_type,
        span_ids=None, profile_ids=None, trace_ids=None, stacks=None, keep_locations=0, aggregate_callees=false))]
    #[allow(clippy::too_many_arguments)]
    fn pprof<'py>(
        &self,
        py: Python<'py>,
        tenant: &str,
        sample_files: Vec<String>,
        symbol_files: Vec<String>,
        series: Vec<i64>,
        start_ns: i64,
        end_ns: i64,
        sample_type: Text,
        period_type: Text,
        span_ids: Option<Vec<i64>>,
        profile_ids: Option<Vec<[u8; 16]>>,
        trace_ids: Option<Vec<[u8; 16]>>,
        stacks: Option<Stacks>,
        keep_locations: usize,
        aggregate_callees: bool,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let selection = Selection::new(series, start_ns, end_ns, span_ids, profile_ids, trace_ids, stacks)?;
        let query = selection.query()?;
        let header = PprofHeader {
            sample_type: (&sample_type.0, &sample_type.1),
            period_type: (&period_type.0, &period_type.1),
            time_ns: start_ns,
            duration_ns: end_ns.saturating_sub(start_ns).saturating_add(1),
            keep_locations,
            aggregate_callees,
        };
        let bytes = py.detach(|| self.0.pprof(tenant, &sample_files, &symbol_files, &query, &header));
        bytes.map(|bytes| PyBytes::new(py, &bytes)).map_err(block_error)
    }

    fn function_names(&self, py: Python<'_>, tenant: &str, symbol_files: Vec<String>) -> PyResult<Vec<String>> {
        let names = py.detach(|| self.0.function_names(tenant, &symbol_files)).map_err(block_error)?;
        Ok(names.into_iter().map(|name| name.to_string()).collect())
    }

    #[pyo3(signature = (sample_files, *, series, groups, start_ns, step_ns, steps, count_profiles=false,
        tenant="", symbol_files=Vec::new(), stacks=None))]
    #[allow(clippy::too_many_arguments)]
    fn totals(
        &self,
        py: Python<'_>,
        sample_files: Vec<String>,
        series: Vec<i64>,
        groups: Vec<u32>,
        start_ns: i64,
        step_ns: i64,
        steps: u32,
        count_profiles: bool,
        tenant: &str,
        symbol_files: Vec<String>,
        stacks: Option<Stacks>,
    ) -> PyResult<Vec<Vec<(u32, i64, u32)>>> {
        check_steps(&series, &groups, step_ns)?;
        let stacks = stacks.as_ref().map(Stacks::selector).transpose()?;
        let stacks = stacks.map(|selector| (selector, tenant, symbol_files.as_slice()));
        let query = TotalsQuery { series: &series, groups: &groups, start_ns, step_ns, steps, count_profiles, stacks };
        let totals = py.detach(|| self.0.totals(&sample_files, &query)).map_err(block_error)?;
        let points = |group: Vec<read::StepTotal>| group.iter().map(|at| (at.step, at.sum, at.profiles)).collect();
        Ok(totals.into_iter().map(points).collect())
    }

    #[pyo3(signature = (sample_files, *, series, groups, start_ns, step_ns, steps, by_span=false))]
    #[allow(clippy::too_many_arguments)]
    fn values(
        &self,
        py: Python<'_>,
        sample_files: Vec<String>,
        series: Vec<i64>,
        groups: Vec<u32>,
        start_ns: i64,
        step_ns: i64,
        steps: u32,
        by_span: bool,
    ) -> PyResult<Vec<Vec<(u32, i64)>>> {
        check_steps(&series, &groups, step_ns)?;
        let query = TotalsQuery {
            series: &series,
            groups: &groups,
            start_ns,
            step_ns,
            steps,
            count_profiles: false,
            stacks: None,
        };
        py.detach(|| self.0.values(&sample_files, &query, by_span)).map_err(block_error)
    }
}

fn check_steps(series: &[i64], groups: &[u32], step_ns: i64) -> PyResult<()> {
    if series.len() != groups.len() {
        let message = format!("{} series, but {} groups: give each series one", series.len(), groups.len());
        return Err(PyValueError::new_err(message));
    }
    if let Some(group) = groups.iter().find(|&&group| group as usize >= groups.len()) {
        return Err(PyValueError::new_err(format!("group {group} is not below the number of series")));
    }
    if step_ns < 1 {
        return Err(PyValueError::new_err(format!("step_ns must be at least 1, not {step_ns}")));
    }
    Ok(())
}

/// A call tree with values.
#[pyclass(frozen, module = "flamewire_server._native")]
pub struct Tree(Arc<tree::Tree>);

fn limit(max_nodes: i64) -> usize {
    usize::try_from(max_nodes).unwrap_or(0)
}

#[pymethods]
impl Tree {
    #[getter]
    fn total(&self) -> i64 {
        self.0.total()
    }
    #[getter]
    fn missing_stacks(&self) -> usize {
        self.0.missing_stacks()
    }
    fn flamegraph_json<'py>(&self, py: Python<'py>, max_nodes: i64) -> Bound<'py, PyBytes> {
        let json = py.detach(|| self.0.flamegraph_json(limit(max_nodes)));
        PyBytes::new(py, &json)
    }
    fn flamegraph_proto<'py>(&self, py: Python<'py>, max_nodes: i64) -> Bound<'py, PyBytes> {
        let proto = py.detach(|| self.0.flamegraph_proto(limit(max_nodes)));
        PyBytes::new(py, &proto)
    }
    fn diff_json<'py>(&self, py: Python<'py>, right: &Self, max_nodes: i64) -> Bound<'py, PyBytes> {
        let json = py.detach(|| self.0.diff(&right.0, limit(max_nodes)).json());
        PyBytes::new(py, &json)
    }
    fn diff_proto<'py>(&self, py: Python<'py>, right: &Self, max_nodes: i64) -> Bound<'py, PyBytes> {
        let proto = py.detach(|| self.0.diff(&right.0, limit(max_nodes)).proto());
        PyBytes::new(py, &proto)
    }
    fn tree_bytes<'py>(&self, py: Python<'py>, max_nodes: i64) -> Bound<'py, PyBytes> {
        let bytes = py.detach(|| export::tree_bytes(&self.0, limit(max_nodes)));
        PyBytes::new(py, &bytes)
    }
    fn dot(&self, py: Python<'_>, unit: &str, max_functions: i64) -> String {
        py.detach(|| export::dot(&self.0, unit, limit(max_functions)))
    }
    fn folded<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let bytes = py.detach(|| export::folded(&self.0));
        PyBytes::new(py, &bytes)
    }
    fn functions(&self, py: Python<'_>) -> Vec<(String, i64, i64)> {
        let functions = py.detach(|| self.0.functions());
        functions.into_iter().map(|(name, own, total)| (name.to_string(), own, total)).collect()
    }
}
