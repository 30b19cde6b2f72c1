// What can be asked for, and what the model recommends.

import { parseSeed } from './noise.js';
import { hasSlider } from './sampler.js';

/** What a link to the page may set, in the order in which it is read: what a sampler takes depends on the sampler. */
const LINKED = ['sampler', 'spacing', 'steps', 'seed', 'guidance', 'realism', 'variant', 'backend'];

export class Settings {
  /** `model` is the content of model.json; `$` finds an element by its id. */
  constructor($, model) {
    this.$ = $;
    this.model = model;
    this.onEngine = () => {};
    this.onRealism = () => {};
    this.onChange = () => {};
    fill($('sampler'), model.samplers.map((name) => [name, name]), model.sampler);
    fill($('spacing'), model.spacings.map((name) => [name, name]), model.spacing);
    const label = ({ name, description, bytes }) => `${name} (${description}), ${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
    fill($('variant'), model.variants.map((variant) => [variant.name, label(variant)]), model.variants[0].name);
    $('steps').max = model.timesteps;
    $('steps').value = model.steps;
    $('guidance').value = model.guidance;
    const { noise, ...others } = choices(model);
    for (const [id, free] of Object.entries({ seed: noise, ...others })) $(`${id}-field`).hidden = !free;
    $('realism').addEventListener('input', () => this.explain());
    this.explain();
    if (!navigator.gpu) $('backend').querySelector('[value=webgpu]').remove();
    $('more').open = matchMedia('(min-width: 56rem)').matches; // A phone shows the picture first.
    $('dice').addEventListener('click', () => {
      $('seed').value = crypto.getRandomValues(new Uint32Array(1))[0];
      this.onChange();
    });
    for (const id of ['realism', 'invented']) $(id).addEventListener('change', () => this.onRealism());
    $('realism').addEventListener('change', () => this.onChange());
    for (const id of ['variant', 'backend']) $(id).addEventListener('change', () => this.onEngine());
    $('settings').addEventListener('submit', (event) => event.preventDefault());
    $('settings').addEventListener('input', () => this.judge());
    $('settings').addEventListener('change', () => this.onChange());
    this.usual = this.values();
  }

  /** What to draw with; throws an Error that names the setting that cannot be used. */
  read() {
    const wrong = this.judge()[0];
    if (wrong) {
      this.$('more').open = true;
      this.$(wrong[0]).closest('details').open = true;
      this.$(wrong[0]).focus();
      throw new Error(wrong[1]);
    }
    const { seed, steps, sampler, spacing, guidance, realism } = this.values();
    const [numbers, invented] = [{ steps: Number(steps), guidance: Number(guidance), realism: Number(realism) }, this.$('invented').checked];
    return { seed: parseSeed(seed), seedText: seed.trim(), sampler, spacing, ...numbers, invented };
  }

  /** The variant, an entry of model.json, and the backend asked for. */
  engine() {
    const { variant, backend } = this.values();
    return { variant: this.model.variants.find(({ name }) => name === variant), backend };
  }

  /** Say what the slider's place is known to give. */
  explain() {
    const at = Number(this.$('realism').value);
    const found = this.model.measured && figuresAt(this.model.measured.points, at);
    const figures = found && `ΔE2000 ${found[0].toFixed(1)}, joint SWD ${found[1].toFixed(0)} on ${this.model.measured.pairs} held-out pairs.`;
    const words = at === 0 ? 'Nearest in colour, blurred.' : at === 1 ? 'The sharpest picture.' : 'Between blurred and sharp.';
    this.$('realism-hint').textContent = figures ? `${words} ${figures}` : words;
    this.$('realism').setAttribute('aria-valuetext', `${Math.round(100 * at)} %`);
  }

  /** Take over the settings of a link, such as "realism=0.5&seed=7"; returns those that cannot be used, as they are there. */
  follow(link) {
    const wishes = [...new URLSearchParams(link)];
    const known = LINKED.flatMap((name) => wishes.filter(([wish]) => wish === name));
    const unknown = wishes.filter(([name]) => !LINKED.includes(name));
    const refused = [...unknown, ...known.filter(([name, value]) => !this.set(name, value))];
    this.explain();
    return refused.map(([name, value]) => `${name}=${value}`);
  }

  /** Returns whether this model has the setting and takes the value. */
  set(name, value) {
    const field = this.$(name);
    const before = field.value;
    if (this.$(`${name}-field`)?.hidden) return false;
    field.value = value;
    const same = { select: field.value === value, range: value.trim() !== '' && Number(value) >= field.min && Number(value) <= field.max };
    const fine = same[field.matches('select') ? 'select' : field.type] ?? value.trim() !== '';
    if (fine && !this.judge().some(([id]) => id === name)) return true;
    field.value = before;
    this.judge();
    return false;
  }

  /** The settings that are not as the model recommends, as a link has them. */
  get link() {
    const values = this.values();
    return String(new URLSearchParams(LINKED.filter((name) => values[name] !== this.usual[name]).map((name) => [name, values[name]])));
  }

  /** `quiet`: leave the realism free. */
  lock(locked, quiet) {
    this.$('realism-field').disabled = locked && !quiet;
    for (const fields of this.$('settings').querySelectorAll('fieldset')) fields.disabled = locked;
  }

  values() {
    const names = ['seed', 'steps', 'sampler', 'spacing', 'guidance', 'realism', 'variant', 'backend'];
    return Object.fromEntries(names.map((name) => [name, this.$(name).value]));
  }

  /** [id, message] of each setting that cannot be used, which is marked. */
  judge() {
    const { seed, steps, guidance, sampler } = this.values();
    const { timesteps: most, tables } = this.model;
    const choices = tables && Object.keys(tables[sampler]);
    const inside = (text, least, greatest) => text.trim() !== '' && Number(text) >= least && Number(text) <= greatest;
    const rules = [
      ['seed', parseSeed(seed) !== null, 'The seed must be a whole number from 0 to 2⁶⁴ − 1.'],
      choices
        ? ['steps', choices.includes(steps.trim()), `Steps must be one of ${choices.join(', ')}.`]
        : ['steps', inside(steps, 1, most) && Number.isInteger(Number(steps)), `Steps must be a whole number from 1 to ${most}.`],
      ['guidance', inside(guidance, 0, Number.MAX_VALUE), 'Guidance must be a number from 0 up; 1 is none.'],
    ];
    for (const [id, fine] of rules) this.$(id).setAttribute('aria-invalid', String(!fine));
    return rules.filter(([, fine]) => !fine).map(([id, , message]) => [id, message]);
  }
}

/** Of each setting whether this model leaves a choice; `noise`: whether anything in its sampling is random. */
export function choices(model) {
  const plans = model.tables && Object.values(model.tables).flatMap(Object.values);
  const random = ({ start_from_noise: start, noise = [] }) => start !== 0 || noise.some((weight) => weight !== 0);
  return {
    noise: !plans || plans.some(random),
    steps: !plans || plans.length > 1,
    sampler: model.samplers.length > 1,
    spacing: !plans,
    guidance: model.cond_dropout !== 0,
    realism: hasSlider(model),
  };
}

/** Steps for the frames of a film: the fewest that the model recommends, or the ones asked for where these are fewer. */
export function liveSteps(model, { sampler, steps }) {
  const recommended = model.tables ? Object.keys(model.tables[sampler]).map(Number) : [model.steps];
  return Math.min(steps, ...recommended);
}

/** [ΔE2000, joint SWD] at a realism, on straight lines between measured points [realism, ΔE2000, joint SWD]; null outside. */
export function figuresAt(points, realism) {
  for (let i = 0; i + 1 < points.length; i++) {
    const [[from, ...low], [to, ...high]] = [points[i], points[i + 1]];
    if (from < to && from <= realism && realism <= to) return low.map((value, j) => value + ((realism - from) / (to - from)) * (high[j] - value));
  }
  return null;
}

function fill(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value, value === chosen, value === chosen)));
}
