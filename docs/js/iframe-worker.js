// Browsers start no worker for a page that is read from the disk: there, the search runs in a hidden frame.
if (location.protocol === "file:")
  window.Worker = window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.body.appendChild(document.createElement("iframe"))
      frame.hidden = true
      frame.reply = data => this.dispatchEvent(new MessageEvent("message", { data }))
      const started = new Promise(resolve => (frame.started = resolve))
      this.postMessage = data =>
        started.then(() => frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })))
      const page = frame.contentDocument
      page.open()
      page.write(`<script>
        postMessage = frameElement.reply
        const load = src => new Promise((onload, onerror) =>
          document.body.append(Object.assign(document.createElement("script"), { src, onload, onerror })))
        importScripts = async (...urls) => { for (const url of urls) await load(url) }
      <\/script><script src="${url}"><\/script><script>frameElement.started()<\/script>`)
      page.close()
    }
  }
