// The browser's part of `fleet_map.py`: tiles that stay where they are while their figures change.
export default {
  template: `
    <ul class="fleet-map" :aria-label="label" :data-testid="testId">
      <li v-for="tile in tiles" :key="tile.key" :style="{ flexGrow: tile.weight, flexBasis: tile.width + 'px', maxWidth: 'min(100%, ' + tile.width * 1.8 + 'px)' }">
        <a :href="tile.href" class="tile" :aria-label="tile.name + ': ' + tile.told">
          <span class="tile-head"><span class="tile-name" :title="tile.name">{{ tile.name }}</span>
            <span class="tile-total">{{ tile.total }}</span></span>
          <span class="bar" aria-hidden="true">
            <span v-for="share in tile.shares" :key="share.name" :class="'piece ' + share.name"
              :style="{ flexGrow: share.count }" :title="share.words"></span>
          </span>
          <span class="tile-told" aria-hidden="true">{{ tile.told }}</span>
        </a>
      </li>
    </ul>
  `,
  props: { label: String, testId: String, tiles: Array },
};
