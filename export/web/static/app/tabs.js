// Photo or camera: two tabs, of which one panel is seen.

export class Tabs {
  /** `onTurn(name)` is called when another tab is chosen. */
  constructor($, onTurn) {
    Object.assign(this, { $, onTurn, buttons: [$('tab-photo'), $('tab-camera')] });
    for (const button of this.buttons) button.addEventListener('click', () => this.show(button.value));
    $('tabs').addEventListener('keydown', ({ key }) => {
      if (!['ArrowRight', 'ArrowLeft', 'Home', 'End'].includes(key)) return;
      const other = this.buttons.find((button) => button.value !== this.chosen);
      const next = { Home: this.buttons[0], End: this.buttons[1] }[key] ?? other;
      this.show(next.value);
      next.focus();
    });
    this.mark('photo');
  }

  show(name) {
    if (name === this.chosen) return;
    this.mark(name);
    this.onTurn(name);
  }

  mark(name) {
    this.chosen = name;
    document.body.dataset.tab = name;
    for (const button of this.buttons) {
      const chosen = button.value === name;
      button.setAttribute('aria-selected', String(chosen));
      button.tabIndex = chosen ? 0 : -1;
      this.$(button.getAttribute('aria-controls')).hidden = !chosen;
    }
  }
}
