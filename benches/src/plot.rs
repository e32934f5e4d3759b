//! The plot: throughput and tail latency by number of processes.

use crate::contended::{ContendedRun, PROCESS_COUNTS};
use plotters::prelude::*;
use std::path::Path;

const SHOWN: [(&str, RGBColor); 6] = [
    ("baseline: clock and compare-and-swap", RGBColor(150, 150, 150)),
    ("shm-limit, admitted", RGBColor(0, 110, 60)),
    ("shm-limit, two limits, admitted", RGBColor(110, 190, 60)),
    ("governor, quanta clock, threads", RGBColor(40, 90, 200)),
    ("robust mutex in shared memory, by hand", RGBColor(210, 60, 40)),
    ("flock on a file, by hand", RGBColor(230, 150, 30)),
];

/// Draws both charts into one file.
pub(crate) fn draw(runs: &[ContendedRun], file: &Path) {
    let page = SVGBackend::new(file, (1_000, 420)).into_drawing_area();
    page.fill(&WHITE).expect("a file to write to");
    let (left, right) = page.split_horizontally(500);
    chart(
        &left,
        "million decisions per second, all processes",
        runs,
        |run| run.throughput,
        0.01..100.0,
        true,
    );
    let tail = |run: &ContendedRun| run.times.value_at_quantile(0.9999) as f64 / 1e3;
    chart(&right, "p99.99 latency, µs", runs, tail, 0.05..1_000_000.0, false);
    page.present().expect("a file to write to");
}

/// One chart, with logarithmic axes: base 2 for the number of processes, base 10 for the value.
fn chart(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    runs: &[ContendedRun],
    value: impl Fn(&ContendedRun) -> f64,
    range: std::ops::Range<f64>,
    legend: bool,
) {
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(35)
        .y_label_area_size(60)
        .build_cartesian_2d(-0.2f64..6.2, range.log_scale())
        .expect("a chart");
    chart
        .configure_mesh()
        .x_desc("processes")
        .x_labels(7)
        .x_label_formatter(&|x| x.exp2().to_string())
        .y_label_formatter(&ToString::to_string)
        .bold_line_style(RGBColor(225, 225, 225))
        .light_line_style(TRANSPARENT)
        .draw()
        .expect("a mesh");
    for (name, colour) in SHOWN {
        let points = PROCESS_COUNTS.iter().filter_map(|&workers| {
            let run = runs.iter().find(|run| run.workers == workers && run.name == name)?;
            Some(((workers as f64).log2(), value(run)))
        });
        let points: Vec<(f64, f64)> = points.collect();
        chart
            .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))
            .expect("a line")
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart
            .draw_series(points.into_iter().map(|point| Circle::new(point, 3, colour.filled())))
            .expect("points");
    }
    if legend {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(RGBColor(200, 200, 200))
            .label_font(("sans-serif", 11))
            .draw()
            .expect("a legend");
    }
}
