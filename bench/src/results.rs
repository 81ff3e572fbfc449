//! What a run found, as a value: samples in, medians and verdicts out.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::figures::{Bounds, Figure};
use crate::measure::Sample;
use crate::statistics::median;
use crate::target::Route;

/// Every sample of a run.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    by_figure_and_route: BTreeMap<(Figure, Route), Vec<f64>>,
}

/// One figure over all ways.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(crate) figure: Figure,
    pub(crate) title: &'static str,
    pub(crate) values: BTreeMap<Route, Value>,
    pub(crate) bounds: Option<Bounds>,
    /// Whether Spoolway is within the bounds; none where it was not measured.
    pub(crate) reaches_first_release: Option<bool>,
    pub(crate) reaches_goal: Option<bool>,
}

/// One figure on one way.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Value {
    pub(crate) median: f64,
    /// To nginx as a plain reverse proxy in the same run.
    pub(crate) ratio: Option<f64>,
    /// One for each round, in their order.
    pub(crate) rounds: Vec<f64>,
}

impl Samples {
    pub(crate) fn add(&mut self, route: Route, samples: impl IntoIterator<Item = Sample>) {
        for (figure, value) in samples {
            self.by_figure_and_route.entry((figure, route)).or_default().push(value);
        }
    }

    /// The rows that have a value, in the order of [`Figure::ALL`].
    pub(crate) fn rows(mut self) -> Vec<Row> {
        self.add_differences();
        Figure::ALL.into_iter().filter_map(|figure| self.row(figure)).collect()
    }

    /// What a way adds to the direct one needs the medians of both.
    fn add_differences(&mut self) {
        let Some(direct) = self.median(Figure::FirstByteMedian, Route::Direct) else { return };
        for route in [Route::Nginx, Route::Spoolway] {
            if let Some(wait) = self.median(Figure::FirstByteMedian, route) {
                self.add(route, [(Figure::FirstByteAdded, wait - direct)]);
            }
        }
    }

    fn row(&self, figure: Figure) -> Option<Row> {
        let nginx = self.median(figure, Route::Nginx);
        let mut values = BTreeMap::new();
        for route in Route::ALL {
            let Some(median) = self.median(figure, route) else { continue };
            let rounds = self.by_figure_and_route.get(&(figure, route)).cloned().unwrap_or_default();
            let ratio = nginx.filter(|nginx| *nginx != 0.0).map(|nginx| median / nginx);
            values.insert(route, Value { median, ratio, rounds });
        }
        if values.is_empty() {
            return None;
        }
        let bounds = figure.bounds();
        let ours = values.get(&Route::Spoolway);
        let verdict =
            |pick: fn(&Bounds) -> crate::figures::Bound| Some(pick(bounds.as_ref()?).holds(ours?.median, ours?.ratio));
        Some(Row {
            figure,
            title: figure.title(),
            reaches_first_release: verdict(|bounds| bounds.first_release),
            reaches_goal: verdict(|bounds| bounds.goal),
            values,
            bounds,
        })
    }

    fn median(&self, figure: Figure, route: Route) -> Option<f64> {
        median(self.by_figure_and_route.get(&(figure, route))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_holds_medians_ratios_and_a_verdict() {
        let mut samples = Samples::default();
        samples.add(Route::Nginx, [100.0, 90.0, 110.0].map(|value| (Figure::RequestsPerCpuSecond, value)));
        samples.add(Route::Spoolway, [30.0, 29.0, 99.0].map(|value| (Figure::RequestsPerCpuSecond, value)));
        let rows = samples.rows();
        assert_eq!(rows.len(), 1);
        let row = &rows[0];
        assert_eq!(row.values[&Route::Spoolway].median, 30.0);
        assert_eq!(row.values[&Route::Spoolway].ratio, Some(0.3));
        assert_eq!((row.reaches_first_release, row.reaches_goal), (Some(true), Some(false)));
    }

    #[test]
    fn nothing_is_judged_that_was_not_measured() {
        let mut samples = Samples::default();
        samples.add(Route::Nginx, [(Figure::CameraSlow, 1.2)]);
        assert_eq!(samples.rows()[0].reaches_first_release, None);
    }

    #[test]
    fn the_time_added_is_taken_from_the_direct_way() {
        let mut samples = Samples::default();
        samples.add(Route::Direct, [(Figure::FirstByteMedian, 40.0)]);
        samples.add(Route::Spoolway, [(Figure::FirstByteMedian, 140.0)]);
        let rows = samples.rows();
        let added = rows.iter().find(|row| row.figure == Figure::FirstByteAdded);
        assert_eq!(added.map(|row| row.values[&Route::Spoolway].median), Some(100.0));
    }
}
