"use strict";
(() => {
  document.documentElement.classList.add("js");
  const phone = () => window.innerWidth < 640;
  const boxes = [...document.querySelectorAll("[data-figure]")];
  const networks = [...document.querySelectorAll(".network")];

  const draw = (box) => {
    const figure = JSON.parse(document.getElementById(`figure-${box.dataset.figure}`).textContent);
    const layout = figure.layout;
    if (phone()) {
      // A finger that drags scrolls the page; the legend needs its lines.
      layout.dragmode = false;
      layout.height = Math.min(layout.height, Math.max(360, layout.height * 0.9));
      layout.margin = { ...layout.margin, l: 44, r: 6 };
      layout.font.size = 12;
    }
    Plotly.newPlot(box, figure.data, layout, { displayModeBar: false, responsive: true });
  };
  boxes.forEach(draw);

  const plot = document.querySelector('[data-figure="front"]');
  const ring = plot ? plot.data.findIndex((trace) => trace.name === "selected") : -1;
  const chosen = () => networks.findIndex((network) => network.classList.contains("selected"));

  // Shows the details of one network and marks it in the plot, the table and the pictures.
  const select = (id) => {
    if (!networks.some((network) => network.id === id)) return;
    networks.forEach((network) => network.classList.toggle("selected", network.id === id));
    document.querySelectorAll("[data-network]").forEach((item) => {
      item.classList.toggle("selected", item.dataset.network === id);
    });
    if (ring < 0) return;
    for (const trace of plot.data) {
      const at = trace.customdata ? trace.customdata.indexOf(id) : -1;
      if (at >= 0) Plotly.restyle(plot, { x: [[trace.x[at]]], y: [[trace.y[at]]] }, [ring]);
    }
  };

  const show = (id) => {
    select(id);
    history.replaceState(null, "", `#${id}`);
    const top = document.getElementById(id).getBoundingClientRect().top;
    if (top < 0 || top > window.innerHeight * 0.7) document.getElementById(id).scrollIntoView();
  };

  const nearest = (x, y) => {
    const box = plot.getBoundingClientRect();
    const { _size: size, xaxis, yaxis } = plot._fullLayout;
    let best = { id: null, distance: 20 };
    for (const trace of plot.data) {
      (trace.customdata || []).forEach((id, i) => {
        const dx = box.left + size.l + xaxis.d2p(trace.x[i]) - x;
        const dy = box.top + size.t + yaxis.d2p(trace.y[i]) - y;
        if (Math.hypot(dx, dy) < best.distance) best = { id, distance: Math.hypot(dx, dy) };
      });
    }
    return best.id;
  };

  if (plot && ring >= 0) {
    // What the search saw may lie over a network of the front: a click takes the nearest point that has details.
    plot.on("plotly_click", ({ event }) => {
      const id = nearest(event.clientX, event.clientY);
      if (id) show(id);
    });
  }
  document.querySelectorAll("[data-step]").forEach((button) => {
    button.addEventListener("click", () => {
      const next = (chosen() + Number(button.dataset.step) + networks.length) % networks.length;
      show(networks[next].id);
      networks[next].querySelector(`[data-step="${button.dataset.step}"]`).focus({ preventScroll: true });
    });
  });
  window.addEventListener("hashchange", () => select(location.hash.slice(1)));
  if (networks.length) select(networks.find((network) => network.dataset.first !== undefined).id);
  if (location.hash) select(location.hash.slice(1));

  document.querySelectorAll("[data-copy]").forEach((button) => {
    button.addEventListener("click", async () => {
      const code = document.getElementById(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "copied";
      } catch {
        window.getSelection().selectAllChildren(code);
        button.textContent = "selected: press Ctrl+C";
      }
    });
  });

  // Paper is narrower than most windows, and plots do not follow by themselves.
  const paper = window.matchMedia("print");
  paper.addEventListener("change", () => {
    boxes.forEach((box) => Plotly.relayout(box, paper.matches ? { width: 660 } : { width: null, autosize: true }));
  });
})();
