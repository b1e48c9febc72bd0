// A driver in JavaScript, for the made-up cloud in examples/made-up-cloud.
//
// The user writes `resource: {type: made_up, endpoint: http://..., size: small}`, and the `key` into auth_data.yaml.

const SECTION = {
  type: "object",
  properties: { endpoint: { type: "string" }, size: { type: "string" } },
  required: ["endpoint", "size"],
  additionalProperties: false,
};
const CREDENTIALS = { type: "object", properties: { key: { type: "string" } }, required: ["key"] };

export const plugin = {
  describe() {
    return {
      name: "made_up",
      version: "0.1.0",
      keyword: "made_up",
      summary: "Machines of a made-up cloud",
      sectionSchema: JSON.stringify(SECTION),
      credentialsSchema: JSON.stringify(CREDENTIALS),
      needs: { network: ["endpoint"], interfaces: [] },
    };
  },
};

export const nodes = {
  // The instance's id is the token of the creation: this cloud makes one machine for it, however often it is asked.
  async create(request) {
    const scope = request.scope();
    const userData = request.userData();
    const body = {
      instance: request.instanceId(),
      infrastructure: request.infrastructureId(),
      name: request.machineName(),
      size: section(scope).size,
      user_data: userData === undefined ? null : new TextDecoder().decode(userData),
    };
    // Was the answer lost, or says it nothing (a 500, a page of something in between), then the machine may be there: the host
    // asks `find`.
    const [cloud, machine] = read(await call(scope, "POST", "/machines", body, "unknown-outcome"), "unknown-outcome");
    return observed(machine, cloud);
  },

  // None is believed of the cloud alone: of an answer that carries its name.
  async find(scope, instanceId) {
    const [cloud, { machines }] = await list(scope, `instance=${encodeURIComponent(instanceId)}`);
    return machines.length > 0 ? observed(machines[0], cloud) : undefined;
  },

  // As many answers as handles, in their order.
  async observe(scope, handles) {
    const machines = new Map();
    let next = "";
    while (next !== undefined) {
      const [cloud, page] = await list(scope, `after=${encodeURIComponent(next)}`);
      // What is not on another cloud's list is not gone.
      handles.forEach((handle) => idOf(handle, cloud));
      page.machines.map((machine) => observed(machine, cloud)).forEach((seen) => machines.set(seen.handle.data, seen));
      next = page.next;
    }
    return handles.map(
      (handle) => machines.get(handle.data) ?? { handle, phase: "gone", addresses: [], attributes: [] },
    );
  },

  async destroy(scope, handle) {
    // Another cloud may have a machine of this number, which is not ours.
    const [cloud] = read(await call(scope, "GET", "/"));
    const id = idOf(handle, cloud);
    const response = await call(scope, "DELETE", `/machines/${encodeURIComponent(id)}`);
    // Gone already is fine, when this cloud says so of this machine.
    if (response.status === 404 && response.cloud === cloud && response.text.includes(id)) return;
    read(response);
  },
};

export const inventory = {
  async listOwned(scope, cursor) {
    const [cloud, page] = await list(scope, `after=${encodeURIComponent(cursor ?? "")}`);
    const machines = page.machines.map((machine) => ({
      instanceId: machine.instance,
      infrastructureId: machine.infrastructure,
      observed: observed(machine, cloud),
    }));
    return { machines, cursor: page.next };
  },
};

function section(scope) {
  return JSON.parse(scope.section());
}

// The handle has the cloud's name beside the machine's, to know later who may speak of it.
function observed(machine, cloud) {
  const phases = { starting: "pending", running: "running", stopped: "stopped" };
  return {
    handle: { version: 1, data: `${cloud}/${machine.id}` },
    phase: phases[machine.state] ?? "unknown",
    addresses: machine.address ? [{ value: machine.address, internal: false }] : [],
    attributes: [],
  };
}

async function list(scope, query) {
  const [cloud, page] = read(await call(scope, "GET", `/machines?${query}`));
  if (!Array.isArray(page.machines)) throw fault("retry", "made_up.bad-answer", "the answer is no list of machines");
  return [cloud, page];
}

// The number of a machine, when it is a machine of this cloud.
function idOf(handle, cloud) {
  const [its, id] = handle.data.split("/");
  if (its !== cloud) throw fault("retry", "made_up.another-cloud", `${handle.data} is not of the cloud ${cloud}`);
  return id;
}

// A call with the key in its head. The driver never sees the key: the host puts it where the placeholder is.
async function call(scope, method, path, body, reaction = "retry") {
  const key = scope.credential()?.secret("key")?.placeholder("plain");
  if (key === undefined) throw fault("denied", "made_up.no-credential", "there is no key for this cloud");
  const url = scope.context().urlFor(section(scope).endpoint) + path;
  try {
    const response = await fetch(url, {
      method,
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const [retryAfter, cloud] = ["retry-after", "cloud"].map((name) => response.headers.get(name));
    return { status: response.status, retryAfter, cloud, text: await response.text() };
  } catch (error) {
    throw fault(reaction, "made_up.unreachable", `no answer from ${url}: ${error.message ?? error}`);
  }
}

// The cloud that answered, and its answer. `nothingSaid` is the reaction to answers that say nothing about the request.
function read(response, nothingSaid = "retry") {
  const text = accepted(response, nothingSaid).text;
  try {
    return [response.cloud, JSON.parse(text)];
  } catch (error) {
    throw fault(nothingSaid, "made_up.bad-answer", `the answer can't be read: ${error.message}`);
  }
}

// Refusals, in terms of what the host should do next.
function accepted(response, nothingSaid) {
  const { status, cloud } = response;
  const isTheCloud = cloud !== null;
  if (status >= 200 && status < 300 && isTheCloud) return response;
  const said = words(response);
  const delay = Number(response.retryAfter);
  const after = delay > 0 ? BigInt(delay * 1000) : undefined;
  if (status === 401 || status === 403) throw fault("denied", "made_up.denied", said);
  if (status === 429) throw fault("retry", "made_up.throttled", said, after);
  if (status === 507 && isTheCloud) throw fault("no-capacity", "made_up.full", said, after);
  if (status >= 500) throw fault(nothingSaid, "made_up.server-error", said, after);
  // A gateway, a portal, another program at this address: nothing follows from what it says.
  if (!isTheCloud) throw fault(nothingSaid, "made_up.not-the-cloud", `that is not the cloud's answer: ${said}`);
  if (status === 422) {
    const here = { pointer: "/size", message: "no such size here" };
    throw fault("give-up", "made_up.bad-size", said, undefined, [here]);
  }
  throw fault("give-up", "made_up.refused", said);
}

function words(response) {
  return `the cloud answers with status ${response.status}: ${response.text.slice(0, 200)}`;
}

function fault(reaction, code, message, retryAfterMs = undefined, details = []) {
  return { reaction, code, message, retryAfterMs, details };
}
