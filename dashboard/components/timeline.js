// The browser's part of `timeline.py`: times are shown by the clock of who looks.
export default {
  template: `
    <ol class="timeline" :data-testid="testId" :aria-label="label">
      <li v-for="entry in entries" :key="entry.id" :class="entry.tone">
        <q-icon :name="entry.icon" class="mark" aria-hidden="true" />
        <time :datetime="entry.at" :title="clock(entry.at)">{{ clock(entry.at) }}</time>
        <a v-if="entry.href" :href="entry.href" class="said">{{ entry.words }}</a>
        <span v-else class="said">{{ entry.words }}</span>
        <span class="mono name">{{ entry.name }}</span>
      </li>
    </ol>
  `,
  props: { label: String, testId: String, entries: Array },
  methods: {
    clock(text) {
      const at = new Date(text);
      const isToday = at.toDateString() === new Date().toDateString();
      const day = isToday ? {} : { year: "numeric", month: "short", day: "numeric" };
      return at.toLocaleString([], { ...day, hour: "2-digit", minute: "2-digit", second: "2-digit" });
    },
  },
};
