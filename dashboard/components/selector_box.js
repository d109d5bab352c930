// The browser's part of `selector_box.py`: a combobox. What it offers and says comes from the server.
export default {
  template: `
    <div class="selector-box">
      <div v-if="caption" class="caption" aria-hidden="true">{{ caption }}</div>
      <div :class="{ frame: true, wrong: problem }" @click="$refs.input.focus()">
        <q-icon v-if="icon" :name="icon" class="sign" />
        <textarea ref="input" rows="1" spellcheck="false" autocapitalize="off" autocomplete="off"
          role="combobox" aria-autocomplete="list" aria-haspopup="listbox" :aria-label="label"
          :aria-expanded="String(isOpen)" :aria-controls="listId" :aria-activedescendant="activeId"
          :aria-invalid="String(!!problem)" :aria-describedby="told" :placeholder="placeholder" :maxlength="limit"
          :data-testid="testId" v-model="text" @input="typed" @keydown="key" @click="moved" @blur="close"></textarea>
        <button v-if="text" type="button" class="clear" aria-label="Clear the selector" @click.stop="clear">
          <q-icon name="close" />
        </button>
      </div>
      <div v-show="isOpen" class="offers" role="listbox" :id="listId" :aria-label="label + ': offers'">
        <div v-for="(option, number) in shown" :key="number" :id="listId + '-' + number" role="option"
          :aria-selected="String(number === active)" :class="{ offer: true, active: number === active }"
          @mousedown.prevent="accept(option)">
          <span class="mono">{{ option.label }}</span><span class="meaning">{{ option.meaning }}</span>
        </div>
      </div>
      <div class="told" role="status" aria-live="polite" :id="told">
        <template v-if="problem">
          <div v-if="problem.excerpt" class="excerpt mono" aria-hidden="true">
            <div>{{ problem.excerpt }}</div><div class="caret">{{ problem.caret }}</div>
          </div>
          <div class="problem">
            <span :data-testid="testId + '-problem'">{{ problem.message }}</span>
            <button v-if="problem.suggestion" type="button" class="suggestion"
              :data-testid="testId + '-suggestion'" @click="replace(problem)">{{ problem.suggestion }}</button>
          </div>
        </template>
        <span v-else-if="status" :data-testid="testId + '-status'">{{ status }}</span>
      </div>
    </div>
  `,
  props: {
    label: String,
    caption: String, // the label where it is seen too
    placeholder: String,
    icon: String,
    testId: String,
    limit: Number,
    given: Object, // { text, turn }: what the server put there last
    completion: Object, // { turn, begin, end, options }
    status: String,
    problem: Object, // { turn, excerpt, caret, message, suggestion, begin, end }
  },
  emits: ["typed", "paused", "submitted"],
  data() {
    return { text: this.given.text, turn: 0, active: -1, isWanted: false, resting: null, listening: null };
  },
  computed: {
    listId() {
      return this.testId + "-offers-" + this.$.uid;
    },
    told() {
      return this.testId + "-told-" + this.$.uid;
    },
    shown() {
      return this.completion && this.completion.turn === this.turn ? this.completion.options : [];
    },
    isOpen() {
      return this.isWanted && this.shown.length > 0;
    },
    activeId() {
      return this.isOpen && this.active >= 0 ? this.listId + "-" + this.active : undefined;
    },
  },
  watch: {
    "given.turn"() {
      this.text = this.given.text;
      this.isWanted = false;
      this.$nextTick(this.fit);
    },
    // Not `shown`: what the server says meanwhile must not take back what was chosen among the same offers.
    "completion.turn"() {
      this.active = -1;
    },
  },
  mounted() {
    this.$nextTick(this.fit);
    if (this.text) this.$emit("paused", this.text);
  },
  beforeUnmount() {
    // In a dialog it is mounted anew each time: it then begins with what stands there now.
    const element = mounted_app.elements[this.$attrs.id?.slice(1)];
    if (element) element.props.given = { text: this.text, turn: this.given.turn };
  },
  methods: {
    typed() {
      this.isWanted = true;
      this.ask();
      this.changed();
    },
    moved() {
      this.isWanted = true;
      this.ask();
    },
    ask() {
      this.turn += 1;
      const turn = this.turn;
      clearTimeout(this.listening);
      this.listening = setTimeout(
        () => this.$emit("typed", { text: this.text, cursor: this.$refs.input.selectionStart, turn: turn }),
        30,
      );
    },
    changed() {
      this.fit();
      clearTimeout(this.resting);
      this.resting = setTimeout(() => this.$emit("paused", this.text), 350);
    },
    fit() {
      const input = this.$refs.input;
      if (!input) return;
      input.style.height = "auto";
      if (input.scrollHeight) input.style.height = Math.min(input.scrollHeight, 160) + "px";
    },
    key(event) {
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        if (!this.isOpen) return this.moved();
        const count = this.shown.length;
        const from = this.active < 0 && event.key === "ArrowUp" ? 0 : this.active;
        this.active = (from + (event.key === "ArrowDown" ? 1 : -1) + count) % count;
        this.$nextTick(() => document.getElementById(this.activeId)?.scrollIntoView({ block: "nearest" }));
      } else if (event.key === "Enter") {
        event.preventDefault();
        if (this.isOpen && this.active >= 0) return this.accept(this.shown[this.active]);
        this.close();
        clearTimeout(this.resting);
        this.$emit("submitted", this.text);
      } else if (event.key === "Tab" && !event.shiftKey && this.isOpen) {
        // Only what was begun or chosen is taken over, so that Tab alone still leads on.
        const isBegun = this.completion.begin < this.$refs.input.selectionStart;
        if (this.active < 0 && !isBegun) return this.close();
        event.preventDefault();
        this.accept(this.shown[Math.max(this.active, 0)]);
      } else if (event.key === "Escape" && this.isOpen) {
        event.preventDefault();
        event.stopPropagation();
        this.close();
      }
    },
    accept(option) {
      this.put(this.completion.begin, this.completion.end, option.insert, true);
    },
    replace(problem) {
      this.put(problem.begin, problem.end, problem.suggestion, false);
    },
    put(begin, end, words, isMore) {
      this.text = this.text.slice(0, begin) + words + this.text.slice(end);
      this.$nextTick(() => {
        this.$refs.input.focus();
        this.$refs.input.setSelectionRange(begin + words.length, begin + words.length);
        this.isWanted = isMore;
        if (isMore) this.ask();
        this.changed();
      });
    },
    clear() {
      this.text = "";
      this.isWanted = false;
      this.$refs.input.focus();
      this.$nextTick(this.changed);
    },
    close() {
      this.isWanted = false;
      this.active = -1;
    },
  },
};
