export default function({ data, parentElement, setTriggerValue }) {
  const count = data.clips.length;
  const add = (parent, name, className, values) =>
    parent.appendChild(Object.assign(document.createElement(name), { className, ...values }));
  // From light to dark along the right order: a broken gradient is a broken order.
  const colour = (k) => {
    const t = k / Math.max(1, count - 1);
    return data.colours?.[k] ?? `hsl(${226 + 12 * t}, ${70 - 8 * t}%, ${74 - 44 * t}%)`;
  };
  parentElement.querySelector('.wrap')?.remove();
  const wrap = add(parentElement, 'div', 'wrap');
  const inside = add(wrap, 'div', '', { style: `min-width: ${52 * count}px` });
  const label = (textContent) => data.slots && add(inside, 'p', 'label', { textContent });
  const row = (slots) => {
    const line = add(inside, 'div', 'row');
    for (const [k, gone] of slots) {
      const kind = 'clip' + (gone ? ' gone' : '') + (k === data.on ? ' on' : '');
      const clip = add(line, 'button', kind, {
        type: 'button',
        title: data.clips[k].title,
        ariaLabel: `clip ${k + 1}` + (gone ? ', dropped' : ''),
        onclick: () => setTriggerValue('clip', k + 1),
      });
      clip.dataset.clip = k + 1;
      for (const src of data.clips[k].frames)
        src ? add(clip, 'img', '', { src, alt: '' }) : add(clip, 'div', 'none');
      const style = `background: ${colour(k)}`;
      add(clip, 'div', 'bar', { style });
      add(clip, 'span', 'no', { style, textContent: k + 1 });
    }
  };
  label('in the right order');
  row(data.clips.map((_, k) => [k, false]));
  if (!data.slots) return;
  const lines = data.slots.map(([k, gone], place) =>
    gone ? '' : `<path d="M${k + .5} 0 L${place + .5} 1" stroke="${colour(k)}"/>`);
  // Clips stop growing at 190 px, and the lines with them.
  inside.insertAdjacentHTML('beforeend', `<svg viewBox="0 0 ${count} 1" preserveAspectRatio="none"
    style="max-width: ${195 * count}px">${lines.join('')}</svg>`);
  row(data.slots);
  label('as in the rejected text');
}
