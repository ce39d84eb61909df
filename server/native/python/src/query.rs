//! Reader, what it is asked, and Tree: what queries ask of blocks.

use std::sync::Arc;
use std::time::Duration;

use flamewire_core::export;
use flamewire_core::guard::Guard;
use flamewire_core::pprof_export::PprofHeader;
use flamewire_core::read::{self, Cells, Exemplar, TotalsQuery, TreeQuery};
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

/// Ends a query early.
#[pyclass(frozen, module = "flamewire_server._native")]
pub struct QueryGuard(Guard);

#[pymethods]
impl QueryGuard {
    #[new]
    #[pyo3(signature = (timeout_s=None))]
    fn new(timeout_s: Option<f64>) -> PyResult<Self> {
        let limit = timeout_s.map(Duration::try_from_secs_f64).transpose();
        let limit = limit.map_err(|error| PyValueError::new_err(format!("timeout_s: {error}")))?;
        Ok(Self(Guard::new(limit)))
    }
    fn cancel(&self) {
        self.0.cancel();
    }
}

/// Which samples a query takes.
#[pyclass(frozen, module = "flamewire_server._native")]
pub struct Selection {
    series: Vec<i64>,
    start_ns: i64,
    end_ns: i64,
    span_ids: Option<Vec<i64>>,
    profile_ids: Option<Vec<u128>>,
    trace_ids: Option<Vec<u128>>,
    stacks: Option<Stacks>,
    guard: Option<Py<QueryGuard>>,
}

type Ids = Option<Vec<[u8; 16]>>;

fn ids(texts: Ids) -> Option<Vec<u128>> {
    texts.map(|ids| ids.into_iter().map(u128::from_be_bytes).collect())
}

fn guard_of(guard: Option<&Py<QueryGuard>>) -> Option<&Guard> {
    guard.map(|guard| &guard.get().0)
}

#[pymethods]
impl Selection {
    #[new]
    #[pyo3(signature = (*, series, start_ns, end_ns, span_ids=None, profile_ids=None, trace_ids=None, stacks=None,
        guard=None))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        series: Vec<i64>,
        start_ns: i64,
        end_ns: i64,
        span_ids: Option<Vec<i64>>,
        profile_ids: Ids,
        trace_ids: Ids,
        stacks: Option<Stacks>,
        guard: Option<Py<QueryGuard>>,
    ) -> PyResult<Self> {
        if let Some(stacks) = &stacks {
            stacks.selector()?;
        }
        let (profile_ids, trace_ids) = (ids(profile_ids), ids(trace_ids));
        Ok(Self { series, start_ns, end_ns, span_ids, profile_ids, trace_ids, stacks, guard })
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
            guard: guard_of(self.guard.as_ref()),
        })
    }
}

/// Which samples go into which group and step.
#[pyclass(frozen, module = "flamewire_server._native")]
pub struct StepSelection {
    series: Vec<i64>,
    groups: Vec<u32>,
    start_ns: i64,
    step_ns: i64,
    steps: u32,
    tenant: String,
    symbol_files: Vec<String>,
    stacks: Option<Stacks>,
    guard: Option<Py<QueryGuard>>,
}

#[pymethods]
impl StepSelection {
    #[new]
    #[pyo3(signature = (*, series, groups, start_ns, step_ns, steps, tenant="", symbol_files=Vec::new(),
        stacks=None, guard=None))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        series: Vec<i64>,
        groups: Vec<u32>,
        start_ns: i64,
        step_ns: i64,
        steps: u32,
        tenant: &str,
        symbol_files: Vec<String>,
        stacks: Option<Stacks>,
        guard: Option<Py<QueryGuard>>,
    ) -> PyResult<Self> {
        check_steps(&series, &groups, step_ns)?;
        if let Some(stacks) = &stacks {
            stacks.selector()?;
        }
        let tenant = tenant.to_owned();
        Ok(Self { series, groups, start_ns, step_ns, steps, tenant, symbol_files, stacks, guard })
    }
}

impl StepSelection {
    fn query(&self, count_profiles: bool) -> PyResult<TotalsQuery<'_>> {
        let stacks = self.stacks.as_ref().map(Stacks::selector).transpose()?;
        Ok(TotalsQuery {
            series: &self.series,
            groups: &self.groups,
            start_ns: self.start_ns,
            step_ns: self.step_ns,
            steps: self.steps,
            count_profiles,
            stacks: stacks.map(|selector| (selector, self.tenant.as_str(), self.symbol_files.as_slice())),
            guard: guard_of(self.guard.as_ref()),
        })
    }
}

/// Reads blocks.
#[pyclass(frozen, module = "flamewire_server._native")]
pub struct Reader(read::Reader);

type Text = (String, String);
/// (k, time in ns, id, trace id, value, series)
type ExemplarParts<'py> = (u32, i64, Bound<'py, PyBytes>, Bound<'py, PyBytes>, i64, Vec<i64>);

#[pymethods]
impl Reader {
    #[new]
    #[pyo3(signature = (*, max_cached_stacks=8_000_000, max_cached_bytes=134_217_728, max_threads=2))]
    fn new(max_cached_stacks: usize, max_cached_bytes: usize, max_threads: usize) -> Self {
        Self(read::Reader::new(max_cached_stacks, max_cached_bytes, max_threads))
    }

    #[getter]
    fn cached_bytes(&self) -> usize {
        self.0.cached_bytes()
    }

    fn tree(
        &self,
        py: Python<'_>,
        tenant: &str,
        sample_files: Vec<String>,
        symbol_files: Vec<String>,
        selection: &Selection,
    ) -> PyResult<Tree> {
        let query = selection.query()?;
        let tree = py.detach(|| self.0.tree(tenant, &sample_files, &symbol_files, &query));
        tree.map(|tree| Tree(Arc::new(tree))).map_err(block_error)
    }

    #[pyo3(signature = (tenant, sample_files, symbol_files, selection, *, sample_type, period_type, keep_locations=0,
        aggregate_callees=false, services=Vec::new()))]
    #[allow(clippy::too_many_arguments)]
    fn pprof<'py>(
        &self,
        py: Python<'py>,
        tenant: &str,
        sample_files: Vec<String>,
        symbol_files: Vec<String>,
        selection: &Selection,
        sample_type: Text,
        period_type: Text,
        keep_locations: usize,
        aggregate_callees: bool,
        services: Vec<String>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let query = selection.query()?;
        let header = PprofHeader {
            sample_type: (&sample_type.0, &sample_type.1),
            period_type: (&period_type.0, &period_type.1),
            time_ns: query.start_ns,
            duration_ns: query.end_ns.saturating_sub(query.start_ns).saturating_add(1),
            keep_locations,
            aggregate_callees,
            services: &services,
        };
        let bytes = py.detach(|| self.0.pprof(tenant, &sample_files, &symbol_files, &query, &header));
        bytes.map(|bytes| PyBytes::new(py, &bytes)).map_err(block_error)
    }

    fn function_names(&self, py: Python<'_>, tenant: &str, symbol_files: Vec<String>) -> PyResult<Vec<String>> {
        let names = py.detach(|| self.0.function_names(tenant, &symbol_files)).map_err(block_error)?;
        Ok(names.into_iter().map(|name| name.to_string()).collect())
    }

    #[pyo3(signature = (sample_files, selection, *, count_profiles=false))]
    fn totals(
        &self,
        py: Python<'_>,
        sample_files: Vec<String>,
        selection: &StepSelection,
        count_profiles: bool,
    ) -> PyResult<Vec<Vec<(u32, i64, u32)>>> {
        let query = selection.query(count_profiles)?;
        let totals = py.detach(|| self.0.totals(&sample_files, &query)).map_err(block_error)?;
        let points = |group: Vec<read::StepTotal>| group.iter().map(|at| (at.step, at.sum, at.profiles)).collect();
        Ok(totals.into_iter().map(points).collect())
    }

    #[pyo3(signature = (sample_files, selection, *, by_span=false))]
    fn values(
        &self,
        py: Python<'_>,
        sample_files: Vec<String>,
        selection: &StepSelection,
        by_span: bool,
    ) -> PyResult<Vec<Vec<(u32, i64)>>> {
        let query = selection.query(false)?;
        py.detach(|| self.0.values(&sample_files, &query, by_span)).map_err(block_error)
    }

    #[pyo3(signature = (sample_files, selection, *, by_span=false, cells=None))]
    fn exemplars<'py>(
        &self,
        py: Python<'py>,
        sample_files: Vec<String>,
        selection: &StepSelection,
        by_span: bool,
        cells: Option<(f64, f64, u32)>,
    ) -> PyResult<Vec<Vec<ExemplarParts<'py>>>> {
        let query = selection.query(false)?;
        let cells = cells.map_or_else(Cells::default, |(lowest, width, count)| Cells { lowest, width, count });
        let found = py.detach(|| self.0.exemplars(&sample_files, &query, by_span, cells)).map_err(block_error)?;
        let id_bytes = |id: u128| PyBytes::new(py, &id.to_be_bytes());
        let parts =
            |one: Exemplar| (one.step, one.time_ns, id_bytes(one.id), id_bytes(one.trace_id), one.value, one.series);
        Ok(found.into_iter().map(|group| group.into_iter().map(parts).collect()).collect())
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
    #[staticmethod]
    fn merged(py: Python<'_>, trees: Vec<Py<Self>>) -> Self {
        let trees: Vec<Arc<tree::Tree>> = trees.iter().map(|tree| tree.get().0.clone()).collect();
        py.detach(|| Self(Arc::new(tree::Tree::merged(trees.iter().map(|tree| &**tree)))))
    }
    #[getter]
    fn total(&self) -> i64 {
        self.0.total()
    }
    #[getter]
    fn missing_stacks(&self) -> usize {
        self.0.missing_stacks()
    }
    #[getter]
    fn samples(&self) -> i64 {
        self.0.samples()
    }
    #[getter]
    fn frames(&self) -> usize {
        self.0.frames()
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
    fn functions(&self, py: Python<'_>) -> Vec<(String, i64, i64, i64)> {
        let functions = py.detach(|| self.0.functions());
        functions.into_iter().map(|one| (one.name.to_string(), one.own, one.total, one.samples)).collect()
    }
    fn sandwich_json<'py>(&self, py: Python<'py>, function: &str, max_nodes: i64) -> Bound<'py, PyBytes> {
        let json = py.detach(|| self.0.sandwich(function, limit(max_nodes)).json());
        PyBytes::new(py, &json)
    }
    fn sandwich_proto<'py>(&self, py: Python<'py>, function: &str, max_nodes: i64) -> Bound<'py, PyBytes> {
        let proto = py.detach(|| self.0.sandwich(function, limit(max_nodes)).proto());
        PyBytes::new(py, &proto)
    }
    fn columns<'py>(&self, py: Python<'py>, unit: &str, max_nodes: i64) -> Bound<'py, PyBytes> {
        let bytes = py.detach(|| self.0.columns(unit, limit(max_nodes)));
        PyBytes::new(py, &bytes)
    }
    fn diff_columns<'py>(&self, py: Python<'py>, right: &Self, unit: &str, max_nodes: i64) -> Bound<'py, PyBytes> {
        let bytes = py.detach(|| self.0.diff(&right.0, limit(max_nodes)).columns(unit));
        PyBytes::new(py, &bytes)
    }
    fn speedscope<'py>(&self, py: Python<'py>, unit: &str, name: &str) -> Bound<'py, PyBytes> {
        let bytes = py.detach(|| self.0.speedscope(unit, name));
        PyBytes::new(py, &bytes)
    }
    fn svg(&self, py: Python<'_>, title: &str, unit: &str, max_nodes: i64) -> String {
        py.detach(|| self.0.svg(title, unit, limit(max_nodes)))
    }
}
