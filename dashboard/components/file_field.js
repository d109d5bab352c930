// The browser's part of `file_field.py`: sends a chosen file by itself, and says how far that is.
export default {
  template: `
    <div class="file-field" :data-testid="testId">
      <label :for="id" class="caption">{{ label }}</label>
      <input :id="id" type="file" :accept="accept" :disabled="disabled" @change="chosen" :aria-describedby="id + '-said'" />
      <progress v-if="state === 'sending'" max="1" :value="share" :aria-label="label + ': sent'"></progress>
      <div :id="id + '-said'" role="status" :class="state === 'refused' ? 'said refusal' : 'said'">{{ words }}</div>
    </div>
  `,
  props: { label: String, testId: String, accept: String, most: Number, disabled: Boolean, turn: Number },
  data() {
    return { id: "file-" + Math.random().toString(36).slice(2), state: "", words: "", share: 0, request: null };
  },
  watch: {
    turn() {
      this.stop();
      this.tell("", "");
      this.$el.querySelector("input").value = "";
    },
  },
  unmounted() {
    this.stop();
  },
  methods: {
    stop() {
      if (this.request) this.request.abort();
      this.request = null;
    },
    tell(state, words) {
      this.state = state;
      this.words = words;
    },
    size(bytes) {
      const units = ["B", "KiB", "MiB", "GiB"];
      let unit = 0;
      while (bytes >= 1024 && unit < 3) {
        bytes /= 1024;
        unit++;
      }
      return (unit && bytes < 100 ? bytes.toFixed(1) : Math.round(bytes)) + " " + units[unit];
    },
    chosen(event) {
      this.stop();
      this.$emit("sent", null);
      const file = event.target.files[0];
      if (!file) return this.tell("", "");
      if (file.size > this.most)
        return this.tell("refused", `${file.name} has ${this.size(file.size)}; at most ${this.size(this.most)} are taken.`);
      const request = (this.request = new XMLHttpRequest());
      request.open("POST", "/artifacts");
      request.setRequestHeader("Content-Type", "application/octet-stream");
      request.upload.onprogress = (sent) => {
        this.share = sent.loaded / Math.max(sent.total, 1);
        const isWhole = sent.loaded >= sent.total;
        this.tell(isWhole ? "storing" : "sending", isWhole ? `${file.name} is being stored.` : this.sending(file, sent));
      };
      request.onload = () => this.ended(file, request);
      request.onerror = () => this.tell("refused", "The dashboard does not answer: choose the file again.");
      this.share = 0;
      this.tell("sending", `${file.name}: 0 % of ${this.size(file.size)}`);
      request.send(file);
    },
    sending(file, sent) {
      return `${file.name}: ${Math.floor((100 * sent.loaded) / Math.max(sent.total, 1))} % of ${this.size(file.size)}`;
    },
    ended(file, request) {
      if (request !== this.request) return;
      let answer = {};
      try {
        answer = JSON.parse(request.responseText);
      } catch {
        // a redirect to the login, say: told below
      }
      if (!answer.sha256) return this.tell("refused", answer.message || "It was not taken: log in again.");
      this.tell("stored", `${file.name}, ${this.size(answer.size_bytes)}, is stored.`);
      this.$emit("sent", answer.sha256);
    },
  },
};
