// Runs a task through Gantry with the unmodified npm package mesos-framework, which was written for Mesos.
// Start the executor with --listen-insecure 127.0.0.1:5050 first.
//
//   PORT=5050 INSTANCES=3 COMMAND='echo hello' node batch.js
"use strict";

const { Scheduler, Mesos } = require("mesos-framework");
const mesos = Mesos.getMesos();

const port = parseInt(process.env.PORT || "5050", 10);
const instances = parseInt(process.env.INSTANCES || "3", 10);
const command = process.env.COMMAND || "echo hello from $MESOS_SANDBOX";
const limit = parseInt(process.env.LIMIT_SECONDS || "60", 10);

const finished = new Set();
const scheduler = new Scheduler({
  masterUrl: "127.0.0.1",
  port,
  frameworkName: "gantry-example-node",
  frameworkFailoverTimeout: 1,
  logging: { level: process.env.LOG_LEVEL || "error" },
  restartStates: [],
  tasks: {
    hello: {
      priority: 1,
      instances,
      commandInfo: new mesos.CommandInfo(null, null, true, command, null, null),
      resources: { cpus: 0.1, mem: 32, ports: 0, disk: 0 },
    },
  },
  handlers: {},
});

let ending = false;
function end(code, text) {
  if (ending) return;
  ending = true;
  console.log(text);
  scheduler.teardown();
  setTimeout(() => process.exit(code), 200);
}

scheduler.on("subscribed", (event) => console.log("subscribed as", event.frameworkId));
scheduler.on("update", (update) => {
  const { task_id: id, state, message } = update.status;
  console.log(id.value, state, message || "");
  if (state === "TASK_FINISHED") finished.add(id.value);
  if (["TASK_FAILED", "TASK_ERROR", "TASK_LOST"].includes(state)) end(1, `a task ended in ${state}`);
  if (finished.size === instances) end(0, `all ${instances} tasks finished`);
});
scheduler.on("error", (error) => end(1, `error: ${error.message || JSON.stringify(error)} ${error.stack || ""}`));
scheduler.on("ready", () => scheduler.subscribe());
setTimeout(() => end(1, `not finished after ${limit} s`), limit * 1000).unref();
