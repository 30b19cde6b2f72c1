// Answers questions about the page's modules: a list of {ask, ...} as JSON on stdin, a list of results on stdout.
// argv[2] is the folder of the modules.

import { pathToFileURL } from 'node:url';
import { readFileSync } from 'node:fs';

const load = (name) => import(new URL(name, pathToFileURL(`${process.argv[2]}/`)));
const names = ['noise', 'spacing', 'sampler', 'pictures', 'resample', 'detail', 'sizes', 'likeness', 'settings', 'invention', 'steady', 'source'];
const [noise, spacing, sampler, pictures, resample, detail, sizes, likeness, settings, invention, steady, source] = await Promise.all(
  names.map((name) => load(`${name}.js`)),
);
const picture = ([height, width, data]) => ({ data: Uint8ClampedArray.from(data), width, height });

const answer = {
  philox: ({ counter, key }) => noise.philox(counter, key),
  seed: ({ text }) => noise.parseSeed(text),
  normal: ({ seed, stream, count }) => noise.normal(noise.parseSeed(seed), stream, count),
  timesteps: ({ table, steps, name }) => spacing.timesteps(table, steps, name),
  plan: ({ table, steps, name, prediction, spaced }) => sampler.coefficients(table, steps, name, prediction, spaced),
  made: ({ model, steps, name, realism }) => sampler.makePlan(model, steps, name, 'trailing', realism),
  slider: ({ model }) => sampler.hasSlider(model),
  figures: ({ points, realism }) => settings.figuresAt(points, realism),
  invention({ planes, mean, height, width }) {
    return [...invention.invention(Float32Array.from(planes), Float32Array.from(mean), height, width).data];
  },
  bounded: ({ values, clamp, threshold }) => sampler.bounded(Float32Array.from(values), clamp, threshold),
  resize: ({ given, height, width }) => resample.resize(picture(given), height, width).data,
  working({ given, size, fit, multiple }) {
    const { height, width, data } = pictures.working(picture(given), size, fit, multiple);
    return [height, width, [...data]];
  },
  photo: ({ given, inner, planes, fit }) =>
    detail.toPhotoSize(picture(given), picture(inner), Float32Array.from(planes), fit).data,
  planes: ({ given }) => pictures.toPlanes(picture(given)),
  placed: ({ values, height, width }) => pictures.withCoordinates(Float32Array.from(values), height, width),
  levels: ({ values, height, width }) => pictures.fromPlanes(Float32Array.from(values), height, width).data,
  features: ({ given }) => likeness.features(picture(given)),
  distance: ({ known, given }) => likeness.distance(known, picture(given)),
  film({ frames, size, fit, multiple }) {
    const shown = [];
    let before = null;
    for (const { given, made, time } of frames) {
      const photo = picture(given);
      const inner = pictures.working(photo, size, fit, multiple);
      const part = pictures.covered(photo, inner, fit);
      const [guide, result] = [inner, picture(made)].map((whole) => pictures.toPlanes(pictures.cut(whole, part)));
      before = steady.smoothed(guide, result, part, time, before);
      shown.push(detail.apply(before.change, photo).data);
    }
    return shown;
  },
  sides: ({ width, height, pixels }) => source.frameSides(width, height, pixels),
  liveSteps: ({ model, given }) => settings.liveSteps(model, given),
  choices: ({ model }) => settings.choices(model),
  size: ({ bytes }) => sizes.sizeFromHeader(Uint8Array.from(bytes)),
  async bridge({ model, steps, name, cond, noise, gain }) {
    // As the page samples, with a network of two operations that answers as the one in the test that asks.
    const f = Math.fround;
    const plan = sampler.makePlan(model, steps, name, 'trailing');
    const photo = Float32Array.from(cond);
    const network = async (x, t) => x.map((v, i) => f(f(f(gain) * v) + f(f(t * 0.001) * photo[i])));
    const z = Float32Array.from(noise);
    let x = sampler.startState(plan, photo, z);
    for await (const step of sampler.iterate(network, x, plan.rows, model.clamp, model.threshold, () => z)) x = step.x;
    return x;
  },
  async draw({ plan, start, clamp, threshold, scale, noises }) {
    // A network made of three operations, each rounded to float32, as in the test that asks.
    const f = Math.fround;
    const network = async (x, t, shown) => x.map((v) => f(f(f(0.5) * v) + f(f(t) * f(0.001))) + f(shown ? 0.25 : 0));
    const step = (index) => Float32Array.from(noises[index]);
    const states = [];
    const run = sampler.iterate(sampler.guided(network, scale), Float32Array.from(start), plan, clamp, threshold, step);
    for await (const { x } of run) states.push(x);
    return states;
  },
};

const plain = (key, value) => (ArrayBuffer.isView(value) ? Array.from(value) : value);
const results = [];
for (const question of JSON.parse(readFileSync(0, 'utf8'))) results.push(await answer[question.ask](question));
process.stdout.write(JSON.stringify(results, plain));
