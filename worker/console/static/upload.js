// Shows how far an upload is. Without this script the forms work as well: the browser sends them by itself.
"use strict";
(() => {
  const size = (count) => `${(count / 1024 ** 2).toFixed(1)} MiB`;

  const watch = (form) => {
    const progress = form.querySelector("progress");
    const line = form.querySelector("[role=status]");
    const button = form.querySelector("button");
    const say = (text, ended) => {
      line.textContent = text;
      progress.hidden = ended;
      button.disabled = !ended;
    };

    const send = () => {
      const request = new XMLHttpRequest();
      request.open("POST", form.action);
      request.responseType = "json";
      request.setRequestHeader("Accept", "application/json");
      request.upload.addEventListener("progress", (event) => {
        if (!event.lengthComputable) return;
        progress.value = event.loaded / event.total;
        line.textContent = event.loaded < event.total
          ? `${size(event.loaded)} of ${size(event.total)} sent`
          : "All is sent and is being taken in.";
      });
      request.addEventListener("load", () => {
        const answer = request.response;
        if (request.status === 200 && answer !== null) {
          say(answer.done, true);
          window.location.assign(answer.page);
        } else if (answer !== null && answer.error) {
          say(answer.error, true);
        } else {
          say("The upload was refused: it is too large, the disk is too full, or you are signed out.", true);
        }
      });
      request.addEventListener("error", () => {
        say("The connection ended. The upload may be too large, the disk too full, or you are signed out.", true);
      });
      progress.value = 0;
      say("The upload begins.", false);
      request.send(new FormData(form));
    };

    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const files = [...form.querySelectorAll("input[type=file]")].flatMap((input) => [...input.files]);
      const bytes = files.reduce((sum, file) => sum + file.size, 0);
      const most = Number(form.dataset.mostBytes);
      if (files.length === 0) {
        say("Choose a file first.", true);
      } else if (bytes >= most) {
        say(`These files have ${size(bytes)}; at most ${size(most)} are taken at once.`, true);
      } else {
        send();
      }
    });
  };

  for (const form of document.querySelectorAll("form[data-upload]")) watch(form);
})();
