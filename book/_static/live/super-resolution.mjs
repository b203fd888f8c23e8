// The live super-resolution page: what it adds to page.mjs.
(() => {
  "use strict";

  const { slider, choice, paint, heat, heatBar, start } = window.WIDGETS;
  const MOST = { deviation: [24, "grey levels"], bits: [5, "bits per dimension"] }; // where the colours end
  const SAYS = {
    sample: "One sample: one of many pictures that fit the small one.",
    mean: "The mean of the samples: sharp where they agree, blurred where they do not.",
    deviation: "The deviation of the samples: bright where they differ.",
    bits: "Bits per dimension that this sample costs, for each pixel of the small picture.",
    truthBits: "Bits per dimension that the truth costs, for each pixel of the small picture.",
    factorised: "The mean of the factorised model sr-baseline, E[y|x]: no noise and no texture. On average its PSNR is higher than any flow's.",
    bicubic: "Bicubic interpolation of the small picture.",
    truth: "The photograph itself, before it was halved.",
  };

  function build(root) {
    const page = window.LIVE.page(root, {
      model: "sr", pictures: "photographs", first: "chelsea", name: "photo", held: "bicubic",
      sides: [128, 192, 256], side: 192, left: 8, top: 20, longest: 768, least: 32,
      views: { sample: "sample", bits: "its bits", mean: "mean", deviation: "deviation",
        factorised: "factorised", bicubic: "bicubic", truth: "truth", truthBits: "truth's bits" },
      extent: (side) => (modes.value === "double" ? side / 2 : side),
      temperature: () => tau.value,
      degrees: () => arc.value,
      labels: (v) => v.map((t) => Math.min(Math.max(Math.floor(t), 0), 255)),
      state: () => ({ mode: modes.value, tau: tau.value, arc: arc.value }),
      async prepare({ side, values }, ask) {
        if (modes.value === "double") return { side: 2 * side, x: Float64Array.from(values) };
        const { result } = await ask("halved", values, side, side);
        return { side, truth: { y: values }, x: result.map((t) => Math.floor(Math.min(Math.max(t, 0), 255) + 0.5)) };
      },
      conditioned: (job, { bicubic }) => (job.bicubic = bicubic),
      gather(job, { v }) {
        job.sum ??= new Float64Array(v.length);
        job.squares ??= new Float64Array(v.length);
        v.forEach((t, k) => {
          t = Math.min(Math.max(t - 0.5, 0), 255);
          job.sum[k] += t;
          job.squares[k] += t * t;
        });
      },
      show,
    });
    const { canvas, given } = page;
    const tau = slider(page.controls, { label: "temperature", min: 0, max: 1.2, step: 0.1, value: page.number("tau", 0.8),
      says: (t) => t.toFixed(1), onInput: () => page.restart() });
    const arc = slider(page.controls, { label: "arc to the next sample", min: 0, max: 90, step: 15, value: page.number("arc", 0),
      says: (t) => `${t}°`, onInput: () => page.restart() });
    const modes = choice(page.settings, { label: "The model is given the square", options: { halve: "halved", double: "as it is" },
      value: given.mode === "double" ? "double" : "halve", onChange: () => page.place() });

    let loading = null; // the factorised model in a worker of its own, once somebody asks for it
    async function load() {
      await page.script("sr-baseline-model.mjs");
      const model = window.LIVE.begin(window.LIVE.sr_baseline, window.LIVE.kernel);
      await model.begun;
      return model;
    }
    async function computeMean(job) {
      job.isAsked = true;
      try {
        const model = await (loading ??= load());
        model.stop(); // what it computes for another square
        await model.ask("condition", job.x, job.side / 2, job.side / 2);
        job.factorised = (await model.ask("mean")).result;
        page.show();
      } catch (problem) {
        if (problem.message !== "stopped") page.fail(`The factorised model does not answer: ${problem.message}`);
      }
    }
    // decibels, over all entries
    function psnr(job, v) {
      const squares = v.reduce((sum, t, k) => sum + (Math.min(Math.max(t, 0), 255) - job.truth.y[k]) ** 2, 0);
      return `${(10 * Math.log10(255 ** 2 / (squares / v.length))).toFixed(2)} dB`;
    }

    function show(job) {
      const { sample } = page;
      const view = page.held || !sample ? "bicubic" : page.views.value;
      const { side } = job;
      const n = job.samples.length;
      const grey = (v) => paint(canvas, side, side, (k) => [0, 1, 2].map((c) => v[3 * k + c]));
      const of = { bits: sample, truthBits: job.truth }[view];
      const most = of ? MOST.bits : MOST[view];
      if (view === "factorised" && !job.isAsked) computeMean(job);
      const mean = view === "mean" || view === "factorised" ? job.sum.map((t) => t / n) : null;
      if (view === "mean") grey(mean);
      else if (view === "factorised") grey(job.factorised ?? job.bicubic);
      else if (view === "deviation")
        paint(canvas, side, side, (k) => heat(Math.sqrt([0, 1, 2].reduce((sum, c) =>
          sum + Math.max(0, job.squares[3 * k + c] / n - (job.sum[3 * k + c] / n) ** 2), 0) / 3) / most[0]));
      else if (of?.score) paint(canvas, side / 2, side / 2, (k) => heat(of.score.map[k] / most[0]));
      else grey({ bicubic: job.bicubic, truth: (job.truth ?? sample)?.y }[view] ?? sample.y);
      if (most) page.scale("0", heatBar, most.join(" "));
      if (sample) describe(job, sample);
      if (view === "factorised" && !job.factorised) return "Computing the mean of the factorised model; so far, bicubic ...";
      if (view === "factorised" && job.truth)
        return `${SAYS[view]} PSNR (RGB) here ${psnr(job, job.factorised)}; mean of ${n} sample${n > 1 ? "s" : ""} ${psnr(job, mean)}, ` +
          `this sample ${psnr(job, sample.y)}, bicubic ${psnr(job, job.bicubic)}.`;
      return SAYS[view];
    }
    function describe({ samples, truth }, sample) {
      const bits = sample.score ? `, ${sample.score.bits.toFixed(2)} bits per dimension` : "";
      const other = truth?.score ? `; the truth ${truth.score.bits.toFixed(2)}` : "";
      page.status.textContent = `Seed ${sample.seed}${bits}${other}. ` +
        `Sample ${samples.indexOf(sample) + 1} of ${samples.length}, drawn in ${sample.seconds.toFixed(2)} s.`;
      const dots = samples.filter(({ score }) => score).map((one) => ({ value: one.score.bits, shown: one === sample }));
      page.chart(dots, truth?.score ? { truth: truth.score.bits } : {}, "bits per dimension", 1);
    }
    page.begin();
  }

  start("[data-live-super-resolution]", build);
})();
