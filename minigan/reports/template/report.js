"use strict";
// The slider: shows one of the frames, and where its step is in the curves. Without it the last frame is there.
const frames = [...document.querySelectorAll(".frame")];
const cursors = document.querySelectorAll(".cursor");
const controls = document.getElementById("controls");

if (controls) {
  const slider = document.getElementById("slider");
  const output = document.getElementById("at");
  const play = document.getElementById("play");
  let timer = null;

  const show = (index) => {
    const shown = frames[index];
    for (const frame of frames) frame.hidden = frame !== shown;
    for (const cursor of cursors) {
      cursor.setAttribute("x1", shown.dataset.x);
      cursor.setAttribute("x2", shown.dataset.x);
      cursor.removeAttribute("visibility");
    }
    slider.value = index;
    slider.setAttribute("aria-valuetext", `step ${shown.dataset.step}`);
    output.textContent = `step ${shown.dataset.step}`;
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  };
  const start = () => {
    if (slider.valueAsNumber === frames.length - 1) show(0);
    play.textContent = "Pause";
    timer = setInterval(() => {
      show(slider.valueAsNumber + 1);
      if (slider.valueAsNumber === frames.length - 1) stop();
    }, 400);
  };

  slider.addEventListener("input", () => {
    stop();
    show(slider.valueAsNumber);
  });
  play.addEventListener("click", () => (timer ? stop() : start()));
  controls.hidden = false;
  show(frames.length - 1);
}
