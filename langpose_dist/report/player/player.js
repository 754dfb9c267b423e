"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const COLOURS = { right: "#c8373d", left: "#2166ac", trunk: "#4d4d4d" };
  const LINES = ["#c8373d", "#2166ac", "#e08214", "#35978f", "#7b3294", "#4d9221", "#8c510a", "#c51b7d"];
  const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3]];
  const HOME = { yaw: 0, pitch: 0 };
  const view = { yaw: 0.6, pitch: 0.15, zoom: 1 };
  const state = { frame: 0, playing: false, shown: null };

  const decode = (text, Type) => {
    const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
    return new Type(bytes.buffer);
  };
  const clips = data.clips.map((clip) => ({
    ...clip,
    poses: decode(clip.poses, Int16Array),
    points: decode(clip.points, Int16Array),
    seen: decode(clip.seen, Uint8Array),
    root: clip.root === null ? null : decode(clip.root, Float32Array),
    labels: clip.labels.map((label) => ({ name: label.name, values: decode(label.values, Uint8Array) })),
  }));
  const J = data.joints.length;
  let clip = clips[0];
  const sideOf = (joint) => {
    const side = data.joints[joint].split("_")[0];
    return side in COLOURS ? side : "trunk";
  };

  // Canvases are as sharp as the screen: drawn in CSS pixels on a finer grid.
  const prepare = (canvas) => {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = canvas;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    return { pen, width, height };
  };

  const drawBones = (pen, places, isSeen, isKnown, depths) => {
    const order = data.bones.map((_, index) => index);
    if (depths) order.sort((a, b) => depths[data.bones[b][1]] - depths[data.bones[a][1]]);
    pen.lineCap = "round";
    for (const index of order) {
      const [parent, child] = data.bones[index];
      if (!isKnown(parent) || !isKnown(child)) continue;
      const whole = isSeen(parent) && isSeen(child);
      pen.strokeStyle = COLOURS[sideOf(child)];
      pen.globalAlpha = whole ? 1 : 0.45;
      pen.lineWidth = whole ? 3.5 : 2;
      pen.setLineDash(whole ? [] : [5, 5]);
      pen.beginPath();
      pen.moveTo(...places[parent]);
      pen.lineTo(...places[child]);
      pen.stroke();
    }
    pen.setLineDash([]);
    for (let joint = 0; joint < J; joint++) {
      if (!isKnown(joint)) continue;
      pen.globalAlpha = 1;
      pen.beginPath();
      pen.arc(places[joint][0], places[joint][1], 3, 0, 2 * Math.PI);
      pen.fillStyle = isSeen(joint) ? COLOURS[sideOf(joint)] : "#fff";
      pen.fill();
      pen.lineWidth = 1.2;
      pen.strokeStyle = COLOURS[sideOf(joint)];
      pen.stroke();
    }
  };

  const isSeen = (joint) => clip.seen[state.frame * J + joint] === 1;

  const drawInput = () => {
    const { pen, width, height } = prepare($("input"));
    const [w, h] = clip.size;
    const scale = 0.96 * Math.min(width / w, height / h);
    const left = (width - w * scale) / 2, top = (height - h * scale) / 2;
    pen.fillStyle = "#fff";
    pen.strokeStyle = "#b6bcc4";
    pen.fillRect(left, top, w * scale, h * scale);
    pen.strokeRect(left, top, w * scale, h * scale);
    const places = [], known = [];
    for (let joint = 0; joint < J; joint++) {
      const at = 3 * (state.frame * J + joint);
      places.push([left + clip.points[at] * clip.unit * scale, top + clip.points[at + 1] * clip.unit * scale]);
      known.push(clip.points[at + 2] > 0);
    }
    drawBones(pen, places, isSeen, (joint) => known[joint]);
  };

  const poseAt = (frame) => {
    const onPath = clip.root !== null && $("path").checked;
    const points = [];
    for (let joint = 0; joint < J; joint++) {
      const at = 3 * (frame * J + joint);
      const point = [clip.poses[at] / 1000, clip.poses[at + 1] / 1000, clip.poses[at + 2] / 1000];
      if (onPath) for (let axis = 0; axis < 3; axis++) point[axis] += clip.root[3 * frame + axis] - clip.middle[axis];
      points.push(point);
    }
    return points;
  };

  const drawPose = () => {
    const { pen, width, height } = prepare($("pose"));
    const onPath = clip.root !== null && $("path").checked;
    const reach = onPath ? clip.reachOnPath : clip.reach;
    const scale = (0.46 * Math.min(width, height) * view.zoom) / reach;
    const [sinYaw, cosYaw] = [Math.sin(view.yaw), Math.cos(view.yaw)];
    const [sinPitch, cosPitch] = [Math.sin(view.pitch), Math.cos(view.pitch)];
    const eye = 4 * reach;
    const project = ([x, y, z]) => {
      const turnedX = cosYaw * x + sinYaw * z, turnedZ = -sinYaw * x + cosYaw * z;
      const upY = cosPitch * y - sinPitch * turnedZ, depth = sinPitch * y + cosPitch * turnedZ;
      const near = eye / (eye + depth);
      return [width / 2 + turnedX * scale * near, height / 2 + upY * scale * near, depth];
    };
    pen.lineWidth = 1;
    pen.strokeStyle = "#dfe3e8";
    const floor = onPath ? clip.floorOnPath : clip.floor, half = Math.ceil(reach), step = half > 6 ? 2 : 0.5;
    for (let at = -half; at <= half + 1e-6; at += step) {
      for (const line of [[[at, floor, -half], [at, floor, half]], [[-half, floor, at], [half, floor, at]]]) {
        pen.beginPath();
        pen.moveTo(...project(line[0]).slice(0, 2));
        pen.lineTo(...project(line[1]).slice(0, 2));
        pen.stroke();
      }
    }
    const projected = poseAt(state.frame).map(project);
    drawBones(pen, projected, isSeen, () => true, projected.map((point) => point[2]));
    pen.globalAlpha = 1;
    pen.font = "12px system-ui, sans-serif";
    for (const [name, axis] of [["x", [1, 0, 0]], ["y", [0, 1, 0]], ["z", [0, 0, 1]]]) {
      const [tipX, tipY] = project(axis.map((value) => (value * reach) / (7 * view.zoom)));
      const from = [40, height - 58], to = [from[0] + tipX - width / 2, from[1] + tipY - height / 2];
      pen.strokeStyle = pen.fillStyle = "#5b6470";
      pen.beginPath();
      pen.moveTo(...from);
      pen.lineTo(...to);
      pen.stroke();
      pen.fillText(name, to[0] + 3, to[1] + 3);
    }
  };

  const shorten = (pen, text, room) => {
    if (pen.measureText(text).width <= room) return text;
    const signs = [...text];
    while (signs.length && pen.measureText(`${signs.join("")}\u2026`).width > room) signs.pop();
    return `${signs.join("")}\u2026`;
  };

  const drawLabels = () => {
    if (!clip.labels.length) return;
    $("labels").style.height = `${Math.max(150, 24 + 16 * clip.labels.length)}px`;
    const { pen, width, height } = prepare($("labels"));
    const left = 34, right = width - 190, top = 10, bottom = height - 18;
    const x = (frame) => left + ((right - left) * frame) / Math.max(clip.frames - 1, 1);
    const y = (share) => bottom - (bottom - top) * share;
    pen.font = "12px system-ui, sans-serif";
    pen.lineWidth = 1;
    for (const share of [0, 0.5, 1]) {
      pen.strokeStyle = "#e4e7eb";
      pen.fillStyle = "#5b6470";
      pen.beginPath();
      pen.moveTo(left, y(share));
      pen.lineTo(right, y(share));
      pen.stroke();
      pen.fillText(String(share), 8, y(share) + 4);
    }
    const step = Math.max(1, Math.floor(clip.frames / (2 * (right - left))));
    clip.labels.forEach((label, number) => {
      pen.strokeStyle = pen.fillStyle = LINES[number % LINES.length];
      pen.lineWidth = 1.8;
      pen.setLineDash(DASHES[Math.floor(number / LINES.length) % DASHES.length]);
      pen.beginPath();
      for (let frame = 0; frame < clip.frames; frame += step) pen.lineTo(x(frame), y(label.values[frame] / 255));
      pen.stroke();
      const middle = top + 6 + 16 * number;
      pen.beginPath();
      pen.moveTo(right + 10, middle);
      pen.lineTo(right + 32, middle);
      pen.stroke();
      const share = Math.round((100 * label.values[state.frame]) / 255);
      pen.fillText(shorten(pen, `${share} % ${label.name}`, width - right - 44), right + 38, middle + 4);
    });
    pen.setLineDash([]);
    pen.strokeStyle = "#1c2024";
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(x(state.frame), top);
    pen.lineTo(x(state.frame), bottom);
    pen.stroke();
  };

  const draw = () => {
    drawInput();
    drawPose();
    drawLabels();
    $("time").value = String(state.frame);
    const number = clip.first_frame + state.frame * clip.step;
    const seconds = number / clip.video_fps;
    $("clock").textContent = `${seconds.toFixed(2)} s, frame ${number}`;
    $("caption").textContent = clip.captions.filter((one, at) => at === 0 || one.start_s <= seconds).pop()?.caption ?? "";
  };
  const go = (frame) => {
    state.frame = Math.min(Math.max(Math.round(frame), 0), clip.frames - 1);
    draw();
  };

  const setPlaying = (playing) => {
    state.playing = playing;
    $("play").textContent = playing ? "Pause" : "Play";
    state.shown = null;
    if (playing) requestAnimationFrame(tick);
  };
  let exact = 0;
  const tick = (now) => {
    if (!state.playing) return;
    if (state.shown === null) exact = state.frame;
    else exact += ((now - state.shown) / 1000) * clip.fps * Number($("speed").value);
    state.shown = now;
    if (exact > clip.frames - 1) exact = 0;
    if (Math.floor(exact) !== state.frame) go(Math.floor(exact));
    requestAnimationFrame(tick);
  };

  const measure = (of) => {
    let reach = 0.5;
    const lowest = [];
    for (let frame = 0; frame < of.frames; frame += Math.max(1, Math.floor(of.frames / 500))) {
      for (const [x, y, z] of poseAt(frame)) reach = Math.max(reach, Math.hypot(x, y, z));
      lowest.push(Math.max(...poseAt(frame).map((point) => point[1])));
    }
    lowest.sort((a, b) => a - b);
    return [reach, lowest[Math.floor(0.95 * (lowest.length - 1))]];
  };
  const show = (number) => {
    clip = clips[number];
    if (clip.root !== null && !clip.middle) {
      clip.middle = [0, 1, 2].map((axis) => {
        let sum = 0;
        for (let frame = 0; frame < clip.frames; frame++) sum += clip.root[3 * frame + axis];
        return sum / clip.frames;
      });
    }
    $("choose-path").hidden = clip.root === null;
    const checked = $("path").checked;
    $("path").checked = false;
    [clip.reach, clip.floor] = measure(clip);
    $("path").checked = true;
    [clip.reachOnPath, clip.floorOnPath] = measure(clip);
    $("path").checked = checked && clip.root !== null;
    $("time").max = String(clip.frames - 1);
    $("words").hidden = !clip.labels.length;
    $("caption").hidden = !clip.captions.length;
    $("facts").replaceChildren(...clip.sentences.map((text) => {
      const item = document.createElement("li");
      item.textContent = text;
      return item;
    }));
    go(0);
  };

  clips.forEach((one, number) => $("person").add(new Option(one.name, String(number))));
  $("choose-person").hidden = clips.length < 2;
  $("person").addEventListener("change", () => show(Number($("person").value)));
  $("play").addEventListener("click", () => setPlaying(!state.playing));
  $("time").addEventListener("input", () => go(Number($("time").value)));
  $("path").addEventListener("change", draw);
  $("labels").addEventListener("click", (event) => {
    const box = $("labels").getBoundingClientRect();
    go(((event.clientX - box.left - 34) / (box.width - 224)) * (clip.frames - 1));
  });
  const pose = $("pose");
  const turn = (yaw, pitch) => {
    view.yaw += yaw;
    view.pitch = Math.min(Math.max(view.pitch + pitch, -1.5), 1.5);
    drawPose();
  };
  const zoom = (factor) => {
    view.zoom = Math.min(Math.max(view.zoom * factor, 0.2), 12);
    drawPose();
  };
  pose.addEventListener("pointerdown", (event) => pose.setPointerCapture(event.pointerId));
  pose.addEventListener("pointermove", (event) => {
    if (event.buttons & 1) turn(-event.movementX * 0.01, event.movementY * 0.01);
  });
  pose.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * 0.001));
  }, { passive: false });
  pose.addEventListener("dblclick", () => {
    Object.assign(view, HOME, { zoom: 1 });
    drawPose();
  });
  pose.addEventListener("keydown", (event) => {
    const turns = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
    if (event.key in turns) turn(...turns[event.key]);
    else if (event.key === "+" || event.key === "-") zoom(event.key === "+" ? 1.2 : 1 / 1.2);
    else return;
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== " " || ["BUTTON", "SELECT"].includes(event.target.tagName)) return;
    event.preventDefault();
    setPlaying(!state.playing);
  });
  window.addEventListener("resize", draw);
  show(0);
})();
